"""Networks: backbones, the SSPCAB block and its place in them, heads and architectures."""
