"""The devices of a study, and the environment of the runs on each."""

from __future__ import annotations

import os
import re

from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.utils.launcher import missing_settings
from ppcls_sspcab.utils.machine import cpu_threads


def check_device(device: str) -> None:
    """Refuses what is not ``auto``, ``cpu`` or a ``gpu:NUMBER`` that this process may use.

    Raises:
        ConfigError: another word, or no such GPU.
    """
    kind, _, number = device.partition(":")
    if device not in ("auto", "cpu") and not (kind == "gpu" and re.fullmatch("[0-9]{1,4}", number)):
        raise ConfigError("--devices", f"each must be auto, cpu or gpu:NUMBER, not {device!r}")
    environment_for(device, 1)


def environment_for(device: str, workers: int) -> dict[str, str]:
    """This process's environment, with the settings for speed, and one GPU if it is one.

    Args:
        device: as :func:`check_device` takes it.
        workers: how many runs at a time share the cores.
    """
    environment = {**missing_settings(), **os.environ}
    environment.setdefault("GLOG_minloglevel", "2")
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, cpu_threads() // workers))
    if device.startswith("gpu:"):
        number = int(device.partition(":")[2])
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        if visible and number >= len(visible):
            raise ConfigError(
                "--devices", f"{device}: CUDA_VISIBLE_DEVICES shows {len(visible)} GPU(s), from 0"
            )
        environment["CUDA_VISIBLE_DEVICES"] = visible[number] if visible else str(number)
    return environment
