"""Kept so that tools which look for setup.py find it; the metadata lies in pyproject.toml."""

from setuptools import setup

setup()
