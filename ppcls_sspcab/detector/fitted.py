"""Layers whose buffers are fitted in closed form, and saved with the detector."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.errors import DataError, ModelError


class FittedLayer(nn.Layer):
    """A layer with buffers that are fitted, not trained, and saved with the detector.

    A subclass declares them (:meth:`declare`) and sets them when it is fitted
    (:meth:`load_arrays`); until then they are NaN.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[str, tuple[int | None, ...]] = {}

    def declare(self, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        """Adds buffers that are fitted.

        Args:
            shapes: name and shape of each; ``None`` is a length that fitting settles.
        """
        self._shapes |= shapes
        for name, shape in shapes.items():
            self.register_buffer(name, paddle.full([size or 1 for size in shape], float("nan")))

    def require_finite(self, values: np.ndarray, shape: tuple[int, ...]) -> None:
        """Refuses values of good pictures, [n, *shape], that nothing can be fitted to.

        Raises:
            ModelError: another shape, or values that are not finite.
        """
        kind = type(self).__name__
        if values.shape[1:] != shape:
            raise ModelError(
                f"values of shape {list(values.shape)} do not fit a {kind} of "
                f"[N, {', '.join(map(str, shape))}]"
            )
        broken = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if len(broken):
            raise ModelError(
                f"the network gives values that are not finite for {len(broken)} of "
                f"{len(values)} good pictures (first: number {broken[0]}): its training diverged "
                "(lower Optimizer's learning rate) or its weights are damaged"
            )

    def require_pictures(self, count: int) -> None:
        """Refuses fewer than 2 good pictures.

        Raises:
            DataError: there are so few.
        """
        if count < 2:
            raise DataError(
                f"{type(self).__name__} needs at least 2 good pictures, got {count}: add good "
                "pictures or hold out fewer"
            )

    def arrays(self) -> dict[str, np.ndarray]:
        """The declared buffers by name, float32.

        Raises:
            ModelError: a tensor or array that was set as an attribute, which no file would keep.
        """
        # Paddle keeps a tensor that is set as an attribute as a buffer that is not saved.
        arrays = {name for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        lost = sorted((arrays | self._non_persistable_buffer_names_set) - set(self._shapes))
        if lost:
            raise ModelError(
                f"{type(self).__name__}.{lost[0]} would not be saved: declare its shape, as in "
                f"self.declare({{{lost[0]!r}: (size,)}}), or register_buffer what is constant"
            )
        return {name: getattr(self, name).numpy() for name in self._shapes}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets the declared buffers.

        Raises:
            ModelError: an array is missing, unknown, of a wrong shape or not finite.
        """
        kind = type(self).__name__
        if set(arrays) != set(self._shapes):
            raise ModelError(
                f"{kind} needs the arrays {sorted(self._shapes)}, got {sorted(arrays)}: was it "
                "saved from another density, score or localizer?"
            )
        for name, shape in self._shapes.items():
            array = np.asarray(arrays[name])
            if not _fits(array.shape, shape):
                wanted = ", ".join("N" if size is None else str(size) for size in shape)
                raise ModelError(
                    f"{kind}.{name} has shape {list(array.shape)}, not [{wanted}]: it belongs to "
                    "a network with another embedding size, or to another configuration or "
                    "version of this package"
                )
            if not np.isfinite(array).all():
                raise ModelError(f"{kind}.{name} holds values that are not finite")
        for name in self._shapes:
            self.register_buffer(name, paddle.to_tensor(np.asarray(arrays[name], np.float32)))


def fitted_arrays(root: nn.Layer) -> dict[str, np.ndarray]:
    """The arrays of every fitted layer in ``root``, named ``<path of the layer>.<array>``."""
    return {
        f"{prefix}{name}": value
        for prefix, layer in _fitted_layers(root)
        for name, value in layer.arrays().items()
    }


def load_fitted_arrays(root: nn.Layer, arrays: Mapping[str, np.ndarray]) -> None:
    """Restores what :func:`fitted_arrays` gave.

    Raises:
        ModelError: as :meth:`FittedLayer.load_arrays`.
    """
    waiting: dict[str, dict[str, np.ndarray]] = {}
    for path, value in arrays.items():
        prefix, dot, name = path.rpartition(".")
        waiting.setdefault(prefix + dot, {})[name] = value
    for prefix, layer in _fitted_layers(root):
        layer.load_arrays(waiting.pop(prefix, {}))
    if waiting:
        lost = sorted(prefix + name for prefix, part in waiting.items() for name in part)
        raise ModelError(f"arrays that nothing asks for: {lost}")


def _fitted_layers(root: nn.Layer) -> list[tuple[str, FittedLayer]]:
    return [
        (f"{path}." if path else "", layer)
        for path, layer in root.named_sublayers(include_self=True)
        if isinstance(layer, FittedLayer)
    ]


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size > 0 and other in (None, size) for size, other in zip(shape, wanted, strict=True)
    )
