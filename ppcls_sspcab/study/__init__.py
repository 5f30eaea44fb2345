"""Configurations over categories and seeds, in one table."""
