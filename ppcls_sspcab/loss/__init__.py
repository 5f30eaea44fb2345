"""Losses, one a file; ``CombinedLoss`` sums those that a YAML names."""
