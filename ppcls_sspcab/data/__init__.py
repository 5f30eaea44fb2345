"""Data sets, transforms and readers; what is registered here is found by its name in the YAML."""
