"""Data sets, one layout a file: they list pictures and masks."""
