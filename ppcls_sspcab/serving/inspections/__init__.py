"""Inspections on disk: rows in SQLite or PostgreSQL, and pictures in a folder."""
