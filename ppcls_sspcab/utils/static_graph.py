"""Paddle's static graphs of layers, without a place in the user's home."""

from __future__ import annotations

import functools
import tempfile
from typing import Any


def static_graph(layer: Any, **options: Any) -> Any:
    """``paddle.jit.to_static`` of the whole graph.

    Paddle writes the code that it generates to ``~/.cache``; a container's user may have no home.
    Here it goes to a temporary folder, which Paddle removes when the process ends.

    Args:
        layer, options: as Paddle takes them.
    """
    import paddle
    from paddle.jit.dy2static import utils

    utils.get_temp_dir = _folder
    return paddle.jit.to_static(layer, full_graph=True, **options)


@functools.cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="ppcls_sspcab_")
