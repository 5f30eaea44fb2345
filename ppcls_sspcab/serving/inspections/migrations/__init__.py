"""Alembic's folder: how the table of inspections came to be, step after step."""
