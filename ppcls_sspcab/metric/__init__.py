"""How well scores tell good pictures from bad ones."""
