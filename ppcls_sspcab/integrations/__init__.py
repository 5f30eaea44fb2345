"""Plugs into other toolkits."""
