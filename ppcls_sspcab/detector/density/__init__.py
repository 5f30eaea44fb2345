"""Densities of the embeddings of good pictures."""
