"""Pictures that are kept, in a folder for each day, and how they go again."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from ppcls_sspcab.errors import DataError, OutputError, UserError
from ppcls_sspcab.image.drawing import png_of
from ppcls_sspcab.serving.inspections.log import InspectionLog
from ppcls_sspcab.serving.inspections.record import Inspection, StorageError, as_utc
from ppcls_sspcab.utils.files import atomic_write

OTHER = ".bin"  # of what is none of these
# What a file begins with; a WebP has its length between the two.
_MAGIC = {
    rb"\x89PNG\r\n\x1a\n": ".png",
    rb"\xff\xd8\xff": ".jpg",
    rb"BM": ".bmp",
    rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+": ".tif",
    rb"RIFF....WEBP": ".webp",
    rb"GIF8[79]a": ".gif",
    rb"P[1-6]\s": ".pnm",
}
SUFFIXES = (*_MAGIC.values(), OTHER)
_PICTURE = re.compile(
    r"\d{4}/\d{2}/\d{2}/[0-9a-f]{32}(?:" + "|".join(map(re.escape, SUFFIXES)) + ")", re.ASCII
)
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}-\w+\.part", re.ASCII)  # as atomic_write names them

TOGETHER = 500  # pictures of one query
ROWLESS_SECONDS = 3600.0  # from which on a file without a row is not waited for any more


@dataclass(frozen=True)
class _File:
    """A file of the store: its path below it, its size in bytes and when it was written."""

    picture: str
    size: int
    written: float


class PictureStore:
    """Keeps pictures below a folder, as ``YYYY/MM/DD/<id><suffix>``, by the day in UTC.

    Args:
        folder: made when the first picture is saved. Nobody else may write there.
        rule: ``all``; ``anomalies``: all but those found good, so the unjudged too; ``every:N``:
            of each model the first and every N-th after it; ``none``.
        max_days: age at which :meth:`sweep` removes a picture; None: never.
        max_bytes: what :meth:`sweep` leaves of pictures, the newest ones; None: all.

    Raises:
        UserError: a rule or a bound that means nothing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        rule: str = "anomalies",
        max_days: float | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self._folder = Path(os.path.abspath(folder))
        self._rule, self._every = _parsed(rule)
        if max_days is not None and not 0 < max_days < math.inf:
            raise UserError(f"pictures cannot be kept for {max_days} days: give a number above 0")
        if max_bytes is not None and max_bytes < 0:
            raise UserError(f"pictures cannot fill {max_bytes} bytes: give 0 or more")
        self._max_days, self._max_bytes = max_days, max_bytes
        self._settled = date.min  # days before hold no files without a row

    def keeps(self, inspection: Inspection, ordinal: int) -> bool:
        """Whether the rule keeps the picture.

        Args:
            inspection: what was found.
            ordinal: number of the inspection among those of its model, from 0 on.
        """
        if self._rule == "every":
            return ordinal % self._every == 0
        if self._rule == "anomalies":
            return inspection.verdict != "good"
        return self._rule == "all"

    def save(self, inspection: Inspection, content: bytes | np.ndarray) -> str:
        """Writes a picture; it is on disk when this returns.

        Args:
            inspection: whose id and time name the file.
            content: a picture file as it was sent, whose first bytes decide on the suffix; or
                uint8 pixels [H, W, 3] RGB, which become a PNG.

        Returns:
            the path below the folder, with ``/``, for ``Inspection.picture``.

        Raises:
            StorageError: it cannot be written.
        """
        data = png_of(content) if isinstance(content, np.ndarray) else content
        day = as_utc(inspection.time).strftime("%Y/%m/%d").rjust(10, "0")
        picture = f"{day}/{inspection.id}{suffix_of(data)}"
        if not _PICTURE.fullmatch(picture):
            raise StorageError(f"{inspection.id!r}: no id to name a picture by")
        path = self._folder / picture
        with self._storing(path):
            atomic_write(path, data)
            # The file's name in its folder, and that folder's in the ones above.
            for folder in path.parents[: len(Path(picture).parts) + 1]:
                _sync(folder)
        return picture

    def open_path(self, picture: str) -> Path:
        """The file of a kept picture.

        Args:
            picture: as a row has it.

        Raises:
            DataError: no path that :meth:`save` gives, one that leads out of the folder, or a
                picture that was removed.
        """
        if not _PICTURE.fullmatch(picture):
            raise DataError(f"{picture!r}: no picture of the store")
        path = (self._folder / picture).resolve()
        if not path.is_relative_to(self._folder.resolve()) or not path.is_file():
            raise DataError(f"{picture}: the picture is not in the store any more")
        return path

    def sweep(self, log: InspectionLog, now: datetime | None = None) -> int:
        """Removes pictures that are too old, and the oldest of those that fill too much.

        Their rows stay, with ``picture`` set to "". A file without a row, left by a kill between
        the two, goes when it is an hour old. What the store did not write is let alone.

        Args:
            log: has the rows of the pictures.
            now: the time, aware; None: the clock's.

        Returns:
            how many files were removed.

        Raises:
            StorageError: the database does not answer, or a file cannot be removed.
        """
        now = now or datetime.now(timezone.utc)
        oldest = now - timedelta(days=self._max_days or 0)
        rowless = now - timedelta(seconds=ROWLESS_SECONDS)
        days = self._days()
        removed = total = 0
        for day, folder in days:
            files = self._files(folder)
            too_old = self._max_days is not None and day <= oldest.date()
            gone: list[_File] = []
            if too_old or day >= self._settled:
                times = self._times(log, files)
                gone = [
                    file
                    for file in files
                    if (
                        too_old and times[file.picture] < oldest
                        if file.picture in times
                        else file.written < rowless.timestamp()
                    )
                ]
            removed += self._remove(log, gone)
            total += sum(file.size for file in files) - sum(file.size for file in gone)
        if self._max_bytes is not None and total > self._max_bytes:
            removed += self._make_room(log, days, total - self._max_bytes)
        self._settled = rowless.date()
        self._remove_empty([folder for day, folder in days if day < rowless.date()])
        return removed

    def _make_room(self, log: InspectionLog, days: Sequence[tuple[date, Path]], excess: int) -> int:
        """Removes the oldest pictures until ``excess`` bytes are free."""
        removed = 0
        for _, folder in days:
            if excess <= 0:
                break
            files = self._files(folder)
            times = self._times(log, files)
            # One without a row may be waiting for it.
            with_row = sorted(
                (file for file in files if file.picture in times),
                key=lambda file: (times[file.picture], file.picture),
            )
            gone: list[_File] = []
            while with_row and excess > 0:
                gone.append(with_row.pop(0))
                excess -= gone[-1].size
            removed += self._remove(log, gone)
        return removed

    def _remove(self, log: InspectionLog, files: Sequence[_File]) -> int:
        """Removes the files, but first from their rows: no row names a picture that is gone."""
        removed = 0
        for part in _parts(files):
            log.remove_pictures([file.picture for file in part])
            for file in part:
                path = self._folder / file.picture
                with self._storing(path), suppress(FileNotFoundError):
                    path.unlink()
                    removed += 1
        return removed

    def _times(self, log: InspectionLog, files: Sequence[_File]) -> dict[str, datetime]:
        times: dict[str, datetime] = {}
        for part in _parts(files):
            times |= log.picture_times([file.picture for file in part])
        return times

    def _days(self) -> list[tuple[date, Path]]:
        """The folders of days, oldest first."""
        found = []
        for folder in self._folder.glob("[0-9]" * 4 + "/[0-9][0-9]/[0-9][0-9]"):
            with suppress(ValueError):
                day = date(*map(int, folder.relative_to(self._folder).parts))
                found.append((day, folder))
        return sorted(found)

    def _files(self, folder: Path) -> list[_File]:
        """The pictures in the folder of a day, and what is left of unfinished ones."""
        found = []
        below = folder.relative_to(self._folder).as_posix()
        with self._storing(folder), suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}"
                if not (_PICTURE.fullmatch(name) or _UNFINISHED.fullmatch(entry.name)):
                    continue
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        found.append(_File(name, status.st_size, status.st_mtime))
        return found

    def _remove_empty(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            with suppress(OSError):  # it is not empty
                for level in (folder, folder.parent, folder.parent.parent):
                    level.rmdir()

    @contextmanager
    def _storing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            raise StorageError(str(error)) from error
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}") from error


def suffix_of(content: bytes) -> str:
    """The suffix of a picture file by its first bytes; ``.bin`` for what is no known picture."""
    for magic, suffix in _MAGIC.items():
        if re.match(magic, content[:16], re.DOTALL):
            return suffix
    return OTHER


def _parsed(rule: str) -> tuple[str, int]:
    """The kind of a rule, and N of ``every:N``."""
    kind, colon, number = rule.partition(":")
    if kind in ("all", "anomalies", "none") and not colon:
        return kind, 0
    if kind == "every" and re.fullmatch("[0-9]{1,9}", number) and int(number) > 0:
        return kind, int(number)
    raise UserError(
        f"unknown rule {rule!r} of what pictures to keep: give all, anomalies, every:N (N of 1 or "
        "more) or none"
    )


def _parts(files: Sequence[_File]) -> Iterator[Sequence[_File]]:
    for start in range(0, len(files), TOGETHER):
        yield files[start : start + TOGETHER]


def _sync(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
