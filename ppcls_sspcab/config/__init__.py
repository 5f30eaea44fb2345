"""What a YAML may say: its sections, its keys, and how files and overrides are read."""
