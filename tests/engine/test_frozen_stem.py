"""What a oneDNN layer leaves behind in the process that trains on."""

import ctypes
from pathlib import Path

import paddle
import pytest
from paddle import nn

from ppcls_sspcab.arch.onednn import OneDNNLayer

MKL = Path(paddle.__file__).parent / "libs" / "libmklml_intel.so"


@pytest.mark.skipif(not MKL.exists(), reason=f"this Paddle computes without {MKL.name}")
@pytest.mark.parametrize("threads", [2, 3])
def test_matrix_products_keep_their_threads(monkeypatch, threads):
    mkl = ctypes.CDLL(str(MKL))
    before, dynamic = mkl.MKL_Get_Max_Threads(), mkl.MKL_Get_Dynamic()
    mkl.MKL_Set_Dynamic(0)  # more threads than there are cores
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    layer = OneDNNLayer(nn.Conv2D(3, 4, 3), (8, 8))
    layer(paddle.zeros([2, 3, 8, 8]))
    found = mkl.MKL_Get_Max_Threads()
    paddle.base.core.set_num_threads(before)
    mkl.MKL_Set_Dynamic(dynamic)
    assert found == threads
