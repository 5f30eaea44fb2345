"""Layers that are not trained, through Paddle Inference with oneDNN: far faster than eager mode."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector import Detector
from ppcls_sspcab.utils.launcher import cpu_threads
from ppcls_sspcab.utils.modes import evaluation_mode
from ppcls_sspcab.utils.streams import stdout_to_stderr

# What oneDNN may change in a feature, as a part of the largest one.
_TOLERANCE = 1e-3


class OneDNNLayer:
    """A layer compiled for the CPU, with the weights that it has now, in evaluation mode.

    Args:
        layer: maps images float32 [N, 3, H, W] to a tensor, or to a tuple of them.
        image_size: (H, W); the batch size is free.

    Called with images it returns the list of the layer's tensors.
    """

    def __init__(self, layer: nn.Layer, image_size: Sequence[int]) -> None:
        from paddle.inference import Config, create_predictor

        spec = paddle.static.InputSpec([None, 3, *image_size], "float32", "images")
        with (
            evaluation_mode(layer),
            tempfile.TemporaryDirectory(prefix="ppcls_sspcab_") as folder,
            stdout_to_stderr(),
        ):
            static = paddle.jit.to_static(layer, input_spec=[spec], full_graph=True)
            paddle.jit.save(static, str(Path(folder) / "layer"))
            config = Config(folder, "layer")
            config.disable_glog_info()
            config.disable_gpu()
            config.enable_mkldnn()
            # With oneDNN, Paddle 3.3.1 lets operators overwrite tensors that are also outputs.
            config.delete_pass("inplace_pass")
            config.set_cpu_math_library_num_threads(cpu_threads())
            self._predictor = create_predictor(config)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._outputs = [
            self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()
        ]
        with stdout_to_stderr():  # the first run of oneDNN's kernels prints to standard output
            self(paddle.zeros([1, 3, *image_size]))

    def __call__(self, images: paddle.Tensor) -> list[paddle.Tensor]:
        self._input.copy_from_cpu(np.ascontiguousarray(images.numpy()))
        try:
            self._predictor.run()
        finally:
            # Paddle Inference leaves the process's matrix products with one thread.
            paddle.base.core.set_num_threads(cpu_threads())
        return [paddle.to_tensor(output.copy_to_cpu()) for output in self._outputs]


class FrozenStem:
    """The leading layers of a backbone that are frozen for good, run by oneDNN while training.

    Args:
        backbone: its direct sublayers up to the last frozen one must follow each other.
        frozen: the frozen layers.
        image_size: (H, W) of the pictures.
    """

    def __init__(
        self, backbone: nn.Layer, frozen: list[nn.Layer], image_size: Sequence[int]
    ) -> None:
        self._backbone = backbone
        children = dict(backbone.named_children())
        last = max(i for i, child in enumerate(children.values()) if child in frozen)
        self._names = list(children)[: last + 1]
        stem = nn.Sequential(*(children[name] for name in self._names))
        self._run = OneDNNLayer(stem, image_size)

    @classmethod
    def of(cls, network: nn.Layer, image_size: Sequence[int]) -> FrozenStem | None:
        """The stem of a network on a CPU; None where there is none that can be cut off."""
        frozen = getattr(network, "frozen_for_good", [])
        children = list(network.backbone.children())
        places = [i for i, child in enumerate(children) if child in frozen]
        if not places or not paddle.device.get_device().startswith("cpu"):
            return None
        leading = children[: places[-1] + 1]
        if any(child not in frozen and child.parameters() for child in leading):
            return None
        stem = cls(network.backbone, frozen, image_size)
        return stem if stem.is_equal(image_size) else None

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, 3, H, W] to the feature map behind the last frozen layer."""
        return self._run(images)[0]

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Inside the block the backbone takes the stem's output in place of pictures."""
        layers = self._backbone._sub_layers
        own = {name: layers[name] for name in self._names}
        layers.update({name: nn.Identity() for name in self._names})
        try:
            yield
        finally:
            layers.update(own)

    def is_equal(self, image_size: Sequence[int]) -> bool:
        """Whether the backbone gives the same with its stem run apart, tried on noise."""
        images = paddle.to_tensor(
            np.random.default_rng(0).normal(size=(1, 3, *image_size)).astype(np.float32)
        )
        with evaluation_mode(self._backbone), paddle.no_grad():
            whole = self._backbone(images)
            with self.skipped():
                apart = self._backbone(self(images))
        if whole.shape != apart.shape:
            return False
        return float((whole - apart).abs().max()) <= _TOLERANCE * float(whole.abs().max())


class _Features(nn.Layer):
    """The part of a detector that runs its network, with outputs in a fixed order."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
        found = self.detector.features(images)
        return tuple(found[name] for name in sorted(found))


@contextmanager
def accelerated(detector: Detector) -> Iterator[Detector]:
    """On a CPU, the detector's network runs by oneDNN inside the block; a GPU needs no help."""
    if not paddle.device.get_device().startswith("cpu"):
        yield detector
        return
    run = OneDNNLayer(_Features(detector), detector.image_size)
    names = sorted(detector.feature_names)
    with detector.features_by(lambda images: dict(zip(names, run(images), strict=True))):
        yield detector
