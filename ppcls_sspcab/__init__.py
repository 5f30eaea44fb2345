"""Visual anomaly detection on PaddlePaddle by CutPaste self-supervision with the SSPCAB block.

Importing the package loads neither Paddle nor numpy; each room imports what it needs.
"""

from ppcls_sspcab.version import __version__

__all__ = ["__version__"]
