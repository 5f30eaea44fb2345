"""Densities of good embeddings, and the threshold on their scores."""
