"""Static graphs of a user without a home, as in a container with a user number of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import numpy as np, paddle
from ppcls_sspcab.arch.onednn import OneDNNLayer
class Sign(paddle.nn.Layer):
    def forward(self, images):
        return paddle.where(images > 0, images, -images)
images = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
(found,) = OneDNNLayer(Sign(), (4, 5))(paddle.to_tensor(images))
np.testing.assert_array_equal(found.numpy(), np.abs(images))
print("done")
"""


@pytest.mark.slow
def test_no_home_is_needed(tmp_path: Path) -> None:
    program, temporary = tmp_path / "program.py", tmp_path / "temporary"
    program.write_text(PROGRAM)  # Paddle reads the source of what it converts
    temporary.mkdir()
    environment = {**os.environ, "HOME": "/proc/nowhere", "TMPDIR": str(temporary)}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    words = [sys.executable, str(program)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
    assert list(temporary.glob("ppcls_sspcab_*")) == []
