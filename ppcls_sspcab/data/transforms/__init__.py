"""Augmentations and CutPaste, one a file."""
