"""Running an exported model: numpy, pillow, pyyaml and one runtime; no Paddle needed."""
