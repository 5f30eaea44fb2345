"""The loader that makes training samples in worker processes, and tells what went wrong in one."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppcls_sspcab.data.views import CutPasteViews, SampleNumbers
from ppcls_sspcab.errors import DataError, UserError

_PR_SET_PDEATHSIG = 1
_END_SECONDS = 5  # that a worker has to end by itself
_DEAD_READER = re.compile(r"DataLoader process \((pid\s+\d+)\) exited (.*?)\.? *\(at ")
_STOPPED_QUEUE = "Blocking queue is killed"


@dataclass(frozen=True)
class SampleFailure:
    """An error of a worker as plain values, on its way to the main process."""

    is_users: bool
    text: str


class CatchingDataset(paddle.io.Dataset):
    """Returns errors instead of raising them.

    Paddle's loader loses an exception: without workers its reader thread dies and the main process
    waits for ever; with workers it ends in a SystemError that does not say what happened.
    """

    def __init__(self, dataset: CutPasteViews) -> None:
        super().__init__()
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray] | SampleFailure:
        try:
            return self.dataset[number]
        except UserError as error:
            return SampleFailure(True, str(error))
        except Exception:
            return SampleFailure(False, f"sample {number}:\n{traceback.format_exc()}")


def collate(samples: Sequence[Any]) -> list[Any]:
    """Stacks samples to [float32 [B, V, 3, h, w], int64 [B, V]]; a failure takes their place."""
    for sample in samples:
        if isinstance(sample, SampleFailure):
            return [np.zeros(1, np.float32), sample]
    images, labels = zip(*samples, strict=True)
    return [np.stack(images), np.stack(labels)]


class TrainLoader(paddle.io.DataLoader):
    """A ``paddle.io.DataLoader`` that raises in the main process what went wrong in a worker.

    Yields [float32 [B, V, 3, h, w], int64 [B, V]] as Paddle tensors.
    """

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        """Raises DataError for an unreadable picture, RuntimeError with the traceback else."""
        with _no_collection_in_workers():
            batches = super().__iter__()
        try:
            for batch in batches:
                if isinstance(batch[1], SampleFailure):
                    raise (DataError if batch[1].is_users else RuntimeError)(batch[1].text)
                yield batch
        finally:
            _close(batches)


@contextmanager
def _no_collection_in_workers() -> Iterator[None]:
    """Context in which workers are forked that never destroy what they inherit.

    A reader of Paddle's that is garbage when a worker is forked would be destroyed by the worker's
    garbage collector, which then waits without end for threads that are not there.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _close(batches: Any) -> None:
    """Ends threads and workers of Paddle's iterator now.

    Left to the garbage collector, they live on beside those of the next loader, and it then waits
    for a worker without end.
    """
    if not hasattr(batches, "_workers"):
        batches._try_shutdown_all()
        return
    batches._try_shutdown_all(_END_SECONDS)
    for worker in batches._workers:
        if worker.is_alive():
            worker.kill()
            worker.join()


@contextmanager
def reporting_dead_readers() -> Iterator[None]:
    """Context in which the death of a reader process becomes a DataError that names it.

    Paddle raises a SystemError from a signal handler, in the midst of whatever runs just then.
    """
    try:
        yield
    except (SystemError, RuntimeError) as error:
        found = _DEAD_READER.search(str(error))
        if found is None and _STOPPED_QUEUE not in str(error):
            raise
        # Whether the signal or the queue behind it is noticed first is a matter of chance.
        which = f"the reader process {found[1]} {found[2]}" if found else "a reader process died"
        raise DataError(
            f"{which}: out of memory, perhaps; lower "
            "DataLoader.Train.loader.num_workers or Global.cache_mb, and go on from the last "
            "checkpoint with Global.checkpoints=latest"
        ) from error


def build_train_loader(
    dataset: CutPasteViews, numbers: SampleNumbers, num_workers: int
) -> TrainLoader:
    """The loader of the training; order and values are the same for any ``num_workers``.

    Call ``store.warm`` before, so that the workers share the decoded pictures. Batches come through
    pipes: for shared memory a forked worker would make Paddle tensors, and wait for ever for a lock
    that a thread of Paddle's held in the main process when it forked.
    """
    return TrainLoader(
        CatchingDataset(dataset),
        batch_sampler=numbers,
        collate_fn=collate,
        num_workers=num_workers,
        worker_init_fn=_end_with_parent,
        use_shared_memory=False,
    )


def _end_with_parent(_worker: int) -> None:
    """Ends a reader process with its parent, also a killed one, and by nobody else's SIGTERM.

    A service manager's stop reaches the whole group, and the parent still finishes its step.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def flatten_views(images: Any, labels: Any) -> tuple[Any, Any]:
    """One batch of all views, those of one picture side by side: [B * V, 3, h, w] and [B * V, 1].

    The labels' second axis keeps Paddle's cross entropy from taking B x 3 of them for
    probabilities.

    Args:
        images: array or tensor [B, V, 3, h, w].
        labels: likewise, [B, V].
    """
    return images.reshape([-1, *images.shape[2:]]), labels.reshape([-1, 1])
