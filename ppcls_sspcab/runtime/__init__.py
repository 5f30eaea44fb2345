"""What a machine needs to feed pictures to a detector: numpy and Pillow, no Paddle."""

from ppcls_sspcab.runtime.image import ImageError, Preprocess, decode, decode_mask

__all__ = ["ImageError", "Preprocess", "decode", "decode_mask"]
