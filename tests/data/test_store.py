"""The cache of decoded pictures."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.preprocess import Preprocess

SIZE = (6, 8)
BYTES = 3 * 6 * 8


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for index in range(5):
        path = tmp_path / f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (9 + index, 12, 3), dtype=np.uint8)).save(path)
        found.append(Sample(str(path), 0, "good", None, "train"))
    return found


@pytest.mark.parametrize("kept", [0, 2, 5, 100])
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_values_do_not_depend_on_the_cache(samples, kept, on_error):
    contract = Preprocess(SIZE)
    store = ImageStore(samples, contract, kept * BYTES + 1, on_error)
    for warm in (False, True):
        if warm:
            store.warm(2)
        for index, sample in enumerate(samples):
            np.testing.assert_array_equal(store[index], contract.load(sample.path))
    assert store.samples == samples and store.skipped == []


def test_kept_pictures_are_read_once_and_the_rest_each_time(samples):
    store = ImageStore(samples, Preprocess(SIZE), 3 * BYTES)
    store.warm(2)
    for sample in samples:
        os.unlink(sample.path)
    for index in range(3):
        assert store[index].shape == (*SIZE, 3)
    for index in (3, 4):
        with pytest.raises(DataError, match=rf"{index}\.png: does not exist"):
            store[index]


def test_kept_pictures_cannot_be_written(samples):
    store = ImageStore(samples, Preprocess(SIZE), 5 * BYTES)
    with pytest.raises(ValueError, match="read-only"):
        store[0][0, 0, 0] = 1


def test_progress_counts_pictures(samples):
    steps = []
    ImageStore(samples, Preprocess(SIZE), 4 * BYTES).warm(2, steps.append)
    assert steps == [1] * 4
    ImageStore(samples, Preprocess(SIZE), 4 * BYTES, "skip").warm(2, steps.append)
    assert steps == [1] * 9


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_skip_leaves_out_the_unreadable(samples, kept):
    for index in (1, 3):
        Path(samples[index].path).write_bytes(b"no picture")
    store = ImageStore(samples, Preprocess(SIZE), kept * BYTES, "skip")
    store.warm(3)
    assert [path for path, _ in store.skipped] == [samples[1].path, samples[3].path]
    assert all("no picture" in reason for _, reason in store.skipped)
    assert store.samples == [samples[0], samples[2], samples[4]] and len(store) == 3
    for index, sample in enumerate(store.samples):
        np.testing.assert_array_equal(store[index], Preprocess(SIZE).load(sample.path))
    store.warm(1)
    assert len(store.skipped) == 2


def test_stop_names_the_path(samples):
    Path(samples[2].path).write_bytes(b"")
    store = ImageStore(samples, Preprocess(SIZE), 5 * BYTES)
    with pytest.raises(DataError, match=r"2\.png"):
        store.warm(2)


def test_skip_with_nothing_left(samples):
    for sample in samples:
        Path(sample.path).write_bytes(b"")
    with pytest.raises(DataError, match="none of 5 pictures"):
        ImageStore(samples, Preprocess(SIZE), 0, "skip").warm(2)


def test_wrong_settings(samples):
    with pytest.raises(ValueError, match="cache_bytes"):
        ImageStore(samples, Preprocess(SIZE), -1)
    with pytest.raises(ValueError, match="on_error"):
        ImageStore(samples, Preprocess(SIZE), 0, "ignore")
