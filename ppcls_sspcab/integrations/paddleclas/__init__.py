"""Puts this project's classes into an importable PaddleClas, without touching a file of it."""

from ppcls_sspcab.integrations.paddleclas.install import Injected, install

__all__ = ["Injected", "install"]
