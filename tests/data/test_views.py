"""Training samples depend on (seed, number) alone, however they are loaded."""

import gc
import multiprocessing
import os
import threading
import time
from itertools import chain

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.io.dataloader import worker
from PIL import Image

from ppcls_sspcab.data.loader import build_train_loader, flatten_views
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.transforms.color_jitter import ColorJitter
from ppcls_sspcab.data.transforms.cutpaste import CutPaste
from ppcls_sspcab.data.transforms.random_crop import RandomCrop
from ppcls_sspcab.data.transforms.random_translation import RandomTranslation
from ppcls_sspcab.data.transforms.random_turn import RandomTurn
from ppcls_sspcab.data.views import CutPasteViews, SampleNumbers
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.preprocess import Preprocess

PREPROCESS = Preprocess((16, 20))
COUNT = 5


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for index in range(COUNT):
        path = tmp_path / f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(path)
        found.append(Sample(str(path), 0, "good", None, "train"))
    return found


def dataset_of(samples, seed=7, variant="3way", cache_bytes=0):
    store = ImageStore(samples, PREPROCESS, cache_bytes)
    augmentations = [RandomTranslation(0.1), ColorJitter()]
    return CutPasteViews(store, augmentations, CutPaste(variant), PREPROCESS, seed)


def loaded(loader):
    return [(images.numpy(), labels.numpy()) for images, labels in loader]


def assert_same(first, second):
    assert len(first) == len(second)
    for (images, labels), (other_images, other_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def test_shapes_types_and_labels(samples):
    images, labels = dataset_of(samples)[0]
    assert (images.shape, images.dtype) == ((3, 3, 16, 20), np.float32)
    assert (labels.tolist(), labels.dtype) == ([0, 1, 2], np.int64)
    images, labels = dataset_of(samples, variant="union")[0]
    assert images.shape[0] == 2 and labels.tolist() == [0, 1]


def test_first_view_is_the_augmented_picture(samples):
    store = ImageStore(samples, PREPROCESS, 0)
    dataset = CutPasteViews(store, [], CutPaste(), PREPROCESS, 3)
    for number in (0, 4, 17):
        expected = PREPROCESS([samples[dataset.index_of(number)].path])[0]
        np.testing.assert_array_equal(dataset[number][0][0], expected)


def test_sample_depends_on_seed_and_number_alone(samples):
    dataset, other = dataset_of(samples), dataset_of(samples, cache_bytes=1 << 20)
    forward = [dataset[number][0] for number in range(12)]
    for number in reversed(range(12)):
        np.testing.assert_array_equal(other[number][0], forward[number])
    assert not np.array_equal(dataset_of(samples, seed=8)[0][0], forward[0])
    assert not np.array_equal(forward[0], forward[1])


def test_each_pass_takes_every_picture_once_in_an_order_of_its_own(samples):
    dataset = dataset_of(samples)
    passes = [
        [dataset.index_of(pass_ * COUNT + position) for position in range(COUNT)]
        for pass_ in range(6)
    ]
    assert all(sorted(order) == list(range(COUNT)) for order in passes)
    assert len({tuple(order) for order in passes}) > 1


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 6), st.integers(1, 4))
@settings(deadline=None)
def test_ranks_split_each_global_batch(batch_size, steps, start_step, ranks):
    start_step = min(start_step, steps)
    parts = [
        list(SampleNumbers(batch_size, steps, start_step, rank, ranks)) for rank in range(ranks)
    ]
    whole = SampleNumbers(batch_size * ranks, steps, start_step)
    assert len(whole) == steps - start_step == len(parts[0])
    joined = [list(chain(*batches)) for batches in zip(*parts, strict=True)]
    assert joined == list(whole)
    assert list(chain(*joined)) == list(
        range(start_step * batch_size * ranks, steps * batch_size * ranks)
    )


@pytest.mark.parametrize("workers", [1, 4])
def test_order_and_values_are_the_same_with_any_workers(samples, workers):
    expected = loaded(build_train_loader(dataset_of(samples), SampleNumbers(3, 7), 0))
    assert len(expected) == 7
    assert_same(
        expected, loaded(build_train_loader(dataset_of(samples), SampleNumbers(3, 7), workers))
    )


def test_resumed_loader_goes_on_where_it_stopped(samples):
    whole = loaded(build_train_loader(dataset_of(samples), SampleNumbers(2, 6), 0))
    rest = loaded(build_train_loader(dataset_of(samples), SampleNumbers(2, 6, start_step=4), 0))
    assert_same(whole[4:], rest)


def test_loader_can_be_left_early_and_started_again(samples):
    loader = build_train_loader(dataset_of(samples), SampleNumbers(2, 6), 1)
    for batch in loader:
        first = batch[0].numpy()
        break
    np.testing.assert_array_equal(loaded(loader)[0][0], first)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["vanished", "unreadable"])
def test_unreadable_picture_surfaces_as_data_error(samples, workers, damage):
    if damage == "vanished":
        os.unlink(samples[2].path)
    else:
        with open(samples[2].path, "wb") as file:
            file.write(b"<html>")
    loader = build_train_loader(dataset_of(samples), SampleNumbers(2, 20), workers)
    with pytest.raises(DataError, match=r"2\.png: "):
        loaded(loader)


@pytest.mark.parametrize("workers", [0, 1])
def test_bug_in_a_transform_surfaces_with_its_traceback(samples, workers):
    class Faulty(RandomTranslation):
        def apply(self, image, parameters):
            raise ZeroDivisionError("a bug")

    store = ImageStore(samples, PREPROCESS, 0)
    dataset = CutPasteViews(store, [Faulty()], CutPaste(), PREPROCESS, 0)
    with pytest.raises(RuntimeError, match=r"(?s)sample 0.*ZeroDivisionError: a bug"):
        loaded(build_train_loader(dataset, SampleNumbers(1, 3), workers))


def test_flatten_views():
    images = np.arange(2 * 3 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 3, 4, 5)
    labels = np.array([[0, 1, 2], [0, 1, 2]])
    flat, flat_labels = flatten_views(paddle.to_tensor(images), paddle.to_tensor(labels))
    assert flat.shape == [6, 3, 4, 5] and flat_labels.shape == [6, 1]
    for b in range(2):
        for v in range(3):
            np.testing.assert_array_equal(flat[b * 3 + v].numpy(), images[b, v])
            assert flat_labels[b * 3 + v].item() == labels[b, v]
    assert flatten_views(images, labels)[0].shape == (6, 3, 4, 5)


class WithoutTensors:
    """Paddle's core as its worker sees it, without what makes a tensor."""

    def __init__(self, core):
        self._core = core

    def __getattr__(self, name):
        assert name != "DenseTensor", "a worker makes a tensor"
        return getattr(self._core, name)


def test_no_worker_makes_a_tensor_of_paddles(samples, monkeypatch):
    """It would wait for ever for a lock that another thread held when the worker was forked."""
    monkeypatch.setattr(worker, "core", WithoutTensors(worker.core))
    assert len(loaded(build_train_loader(dataset_of(samples), SampleNumbers(3, 4), 2))) == 4


class Collected:
    """Notes the process that destroys it."""

    def __init__(self, path):
        self.path, self.itself = path, self

    def __del__(self):
        with self.path.open("a") as file:
            file.write(f"{os.getpid()}\n")


class Collecting(ColorJitter):
    """A transform beside which the garbage collector runs."""

    def apply(self, image, parameters):
        gc.collect()
        return super().apply(image, parameters)


def test_no_worker_destroys_what_it_inherits(samples, tmp_path):
    """A reader of Paddle's would wait without end for threads that a worker has not."""
    store = ImageStore(samples, PREPROCESS, 0)
    dataset = CutPasteViews(store, [Collecting()], CutPaste(), PREPROCESS, 7)
    garbage = [Collected(tmp_path / "pids") for _ in range(3)]
    gc.disable()
    try:
        del garbage
        assert len(loaded(build_train_loader(dataset, SampleNumbers(3, 4), 2))) == 4
    finally:
        gc.enable()
    assert (tmp_path / "pids").read_text().split() == [str(os.getpid())] * 3


def test_nothing_of_a_loader_that_was_left_lives_on(samples):
    """What is left to the garbage collector disturbs the next loader."""
    before = threading.active_count()
    for workers in (0, 2):
        for _ in build_train_loader(dataset_of(samples), SampleNumbers(2, 6), workers):
            break
    os.unlink(samples[2].path)
    for workers in (0, 2):
        with pytest.raises(DataError) as raised:
            loaded(build_train_loader(dataset_of(samples), SampleNumbers(2, 6), workers))
        assert raised.value.__traceback__ is not None  # which holds what the loader has left
        assert not multiprocessing.active_children()
        ended = time.monotonic() + 10
        while threading.active_count() > before and time.monotonic() < ended:
            time.sleep(0.05)
        assert threading.active_count() <= before, threading.enumerate()


def test_wrong_values(samples):
    with pytest.raises(ValueError, match="no pictures"):
        dataset_of([])
    with pytest.raises(ValueError, match="seed"):
        dataset_of(samples, seed=-1)
    with pytest.raises(ValueError, match="rank=2"):
        SampleNumbers(1, 1, rank=2, ranks=2)


def test_what_is_pasted_lies_in_the_crop(samples):
    store = ImageStore(samples, PREPROCESS, 0)
    views = CutPaste("3way", reference_size=8)
    dataset = CutPasteViews(store, [RandomCrop(10)], views, PREPROCESS, 7)
    assert dataset.view_size == (10, 10)
    for number in range(20):
        images, _ = dataset[number]
        assert images.shape == (3, 3, 10, 10)
        changed = (images[1:] != images[:1]).any(axis=1)
        assert changed.any(axis=(1, 2)).all()


def pasting_dataset(samples, count=COUNT):
    store = ImageStore(samples[:count], PREPROCESS, 0)
    views = CutPaste("3way", source="other", blend="poisson", on_part=True)
    return CutPasteViews(store, [RandomTurn("any"), ColorJitter()], views, PREPROCESS, 7)


def test_views_of_two_pictures_are_the_same_with_any_workers_and_after_resuming(samples):
    whole = loaded(build_train_loader(pasting_dataset(samples), SampleNumbers(2, 6), 0))
    for workers in (1, 2):
        numbers = SampleNumbers(2, 6, start_step=3)
        rest = loaded(build_train_loader(pasting_dataset(samples), numbers, workers))
        assert_same(whole[3:], rest)
    alone = pasting_dataset(samples)
    for rank in range(2):
        numbers = SampleNumbers(1, 6, rank=rank, ranks=2)
        for step, (images, _) in enumerate(
            loaded(build_train_loader(pasting_dataset(samples), numbers, 0))
        ):
            np.testing.assert_array_equal(images[0], alone[2 * step + rank][0])


class Pair:
    """A view transform whose second view is the other picture."""

    labels, class_num, wants_other = (0, 1), 2, True

    def draw(self, rng, height, width):
        return None

    def apply(self, image, parameters, other):
        return np.stack([image, other])


@pytest.mark.parametrize("count", [1, 2, COUNT])
def test_the_second_picture_is_another_one_and_any_other(samples, count):
    store = ImageStore(samples[:count], PREPROCESS, 0)
    dataset = CutPasteViews(store, [], Pair(), PREPROCESS, 3)
    pictures = [PREPROCESS.normalize(store[index][None])[0] for index in range(count)]
    seen = set()
    for number in range(40 * count):
        (first, second), _ = dataset[number]
        index = dataset.index_of(number)
        np.testing.assert_array_equal(first, pictures[index])
        (other,) = [i for i in range(count) if np.array_equal(second, pictures[i])]
        seen.add((index, other))
    pairs = {(i, j) for i in range(count) for j in range(count) if i != j}
    assert seen == (pairs if count > 1 else {(0, 0)})


def test_the_second_picture_is_augmented_by_draws_of_its_own(samples):
    class Shade(RandomTranslation):
        def draw(self, rng, height, width):
            return rng.integers(1, 255)

        def apply(self, image, parameters):
            return np.full_like(image, parameters)

    store = ImageStore(samples[:1], PREPROCESS, 0)
    dataset = CutPasteViews(store, [Shade()], Pair(), PREPROCESS, 3)
    pairs = [dataset[number][0][:, 0, 0, 0].tolist() for number in range(10)]
    assert sum(first != second for first, second in pairs) > 5


def test_a_transform_sees_the_store_once_before_the_first_sample(samples):
    shown = []

    class Prepared(RandomTranslation):
        def prepare(self, pictures):
            shown.append(pictures)

    store = ImageStore(samples, PREPROCESS, 0)
    dataset = CutPasteViews(store, [Prepared()], CutPaste(), PREPROCESS, 0)
    assert shown == [store]
    loaded(build_train_loader(dataset, SampleNumbers(2, 3), 1))
    assert shown == [store]
