"""Distances of single places of feature maps from those of good pictures."""
