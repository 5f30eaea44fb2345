"""Kept pictures: which, where, and how they go again without a row that names a lost file."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from postgres_server import inspection

from ppcls_sspcab.errors import DataError, UserError
from ppcls_sspcab.serving.inspections import pictures as pictures_module
from ppcls_sspcab.serving.inspections.log import InspectionLog
from ppcls_sspcab.serving.inspections.pictures import PictureStore, suffix_of
from ppcls_sspcab.serving.inspections.record import Inspection, Query, StorageError

NOW = datetime.now(timezone.utc).replace(hour=12, minute=0)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(92)  # 100 bytes


@pytest.fixture
def log(tmp_path: Path) -> Iterator[InspectionLog]:
    with InspectionLog(f"sqlite:///{tmp_path}/x.db") as log:
        yield log


def keep(log: InspectionLog, store: PictureStore, days: float, content: bytes = PNG) -> Inspection:
    """A picture and its row, both that old."""
    row = inspection(time=NOW - timedelta(days=days))
    row = replace(row, picture=store.save(row, content))
    log.record([row]).result(20)
    path = store.open_path(row.picture)
    os.utime(path, (row.time.timestamp(),) * 2)
    return row


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_rules() -> None:
    good, bad, unjudged = (inspection(is_anomaly=value) for value in (False, True, None))

    def kept(rule: str) -> list[bool]:
        return [PictureStore("x", rule).keeps(row, 5) for row in (good, bad, unjudged)]

    assert kept("all") == [True] * 3 and kept("none") == [False] * 3
    assert kept("anomalies") == [False, True, True]
    third = PictureStore("x", "every:3")
    assert [third.keeps(bad, number) for number in range(7)] == [True, False, False] * 2 + [True]
    assert not Path("x").exists()


@pytest.mark.parametrize(
    "rule", ["", "some", "every", "every:", "every:0", "every:-1", "every:x", "all:1", "every:٣"]
)
def test_unknown_rules(rule: str) -> None:
    with pytest.raises(UserError, match="every:N"):
        PictureStore("x", rule)


@pytest.mark.parametrize(
    ("days", "size"), [(0, None), (-1, None), (float("nan"), None), (float("inf"), 1), (None, -1)]
)
def test_bounds_that_mean_nothing(days: float | None, size: int | None) -> None:
    with pytest.raises(UserError, match="give"):
        PictureStore("x", "all", days, size)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("png", ".png"),
        ("jpeg", ".jpg"),
        ("bmp", ".bmp"),
        ("tiff", ".tif"),
        ("webp", ".webp"),
        ("gif", ".gif"),
        ("ppm", ".pnm"),
    ],
)
def test_the_suffix_is_what_the_file_is(kind: str, suffix: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, kind)
    assert suffix_of(stream.getvalue()) == suffix


def test_what_is_no_picture_is_bin(tmp_path: Path) -> None:
    assert {suffix_of(data) for data in (b"", b"<html>", b"#!/bin/sh\n", b"RIFF1234WAVE")} == {
        ".bin"
    }
    row = inspection(name="../../evil.html")
    picture = PictureStore(tmp_path).save(row, b"<script>")
    assert picture == row.time.strftime(f"%Y/%m/%d/{row.id}.bin")


def test_a_picture_comes_back_as_it_was_sent(tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "deep" / "store")
    row = inspection(time=datetime(2026, 5, 4, 23, 30, tzinfo=timezone(timedelta(hours=-2))))
    picture = store.save(row, PNG)
    assert picture == f"2026/05/05/{row.id}.png"  # the day in UTC
    assert store.open_path(picture).read_bytes() == PNG
    assert files(tmp_path) == {f"deep/store/{picture}"}


def test_pixels_become_a_png(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    store = PictureStore(tmp_path)
    path = store.open_path(store.save(inspection(), pixels))
    assert path.suffix == ".png"
    assert np.array_equal(np.asarray(Image.open(path)), pixels)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        PictureStore(tmp_path / "file").save(inspection(), PNG)
    for id in ("../../x", "A" * 32, "", "a" * 32 + "\n"):
        with pytest.raises(StorageError, match="no id"):
            PictureStore(tmp_path).save(inspection(id=id), PNG)


def test_no_path_leads_out_of_the_store(tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "store")
    row = inspection()
    picture = store.save(row, PNG)
    day = store.open_path(picture).parent
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    (day / f"{'b' * 32}.png").symlink_to(secret)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{'c' * 32}.png").write_bytes(PNG)
    (day.parent / "99").symlink_to(outside)
    below = day.relative_to(tmp_path / "store").as_posix()
    month = below.rpartition("/")[0]
    escapes = [
        "",
        "/etc/passwd",
        "../secret.png",
        "../../../secret.png",
        str(secret),
        f"{below}/../../../../secret.png",
        f"{below}/{'b' * 32}.png",
        f"{month}/99/{'c' * 32}.png",
        f"{picture}\x00",
        f"{picture}\n",
        f" {picture}",
        picture.replace("/", "\\"),
        picture.replace(".png", ".html"),
        f"{below}/{'d' * 32}.png",  # no such picture
        below,
    ]
    for escape in escapes:
        with pytest.raises(DataError):
            store.open_path(escape)


def test_the_old_go_and_their_rows_stay(log: InspectionLog, tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "store", "all", max_days=2)
    old = [keep(log, store, days) for days in (40, 3, 2.01)]
    young = [keep(log, store, days) for days in (1.99, 1, 0)]
    assert store.sweep(log, NOW) == 3
    assert files(tmp_path / "store") == {row.picture for row in young}
    assert [log.get(row.id) for row in old] == [replace(row, picture="") for row in old]
    assert [log.get(row.id) for row in young] == young
    assert store.sweep(log, NOW) == 0
    with pytest.raises(DataError, match="any more"):
        store.open_path(old[0].picture)
    assert not store._folder.joinpath(old[0].picture).parent.exists()
    # Time goes on: the same store finds what has become too old since.
    assert store.sweep(log, NOW + timedelta(days=1.1)) == 2
    assert files(tmp_path / "store") == {young[2].picture}


def test_the_oldest_go_where_they_fill_too_much(
    log: InspectionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "TOGETHER", 2)
    store = PictureStore(tmp_path / "store", "all", max_bytes=399)
    rows = [keep(log, store, days) for days in (0.3, 0, 0.1, 5, 0.2, 3, 4)]
    rows.sort(key=lambda row: row.time)
    assert store.sweep(log, NOW) == 4
    assert files(tmp_path / "store") == {row.picture for row in rows[4:]}
    assert {row.picture for row in log.find(Query())} == {"", *(row.picture for row in rows[4:])}
    assert store.sweep(log, NOW) == 0
    assert PictureStore(tmp_path / "store", "all", max_bytes=0).sweep(log, NOW) == 3
    assert files(tmp_path / "store") == set() and len(log.find(Query())) == 7


def test_without_bounds_all_stay(log: InspectionLog, tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "store")
    assert store.sweep(log) == 0
    row = keep(log, store, 4000)
    assert store.sweep(log) == 0 and store.open_path(row.picture).exists()


def test_files_without_a_row_go_after_an_hour(log: InspectionLog, tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "store", "all", max_bytes=0)
    fresh, stale = (store.open_path(store.save(inspection(), PNG)) for _ in range(2))
    os.utime(stale, (time.time() - 3700,) * 2)
    unfinished = fresh.with_name(f".{'a' * 32}-abc_1x.part")
    foreign = [fresh.with_name(name) for name in ("notes.txt", f"{'a' * 32}.html", "x.png")]
    for path in (unfinished, *foreign):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - 3700,) * 2)
    assert store.sweep(log) == 2
    assert fresh.exists() and not stale.exists() and not unfinished.exists()
    assert all(path.exists() for path in foreign)
    # One whose row names another file, as a kill between row and file leaves it.
    row = keep(log, store, 0)
    log.remove_pictures([row.picture])
    path = store.open_path(row.picture)
    os.utime(path, (time.time() - 3700,) * 2)
    assert store.sweep(log) == 1 and not path.exists()


def test_a_database_that_is_away_removes_no_file(
    log: InspectionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PictureStore(tmp_path / "store", "all", max_days=1)
    row = keep(log, store, 3)

    def away(pictures: object) -> None:
        raise StorageError("away")

    monkeypatch.setattr(log, "remove_pictures", away)
    with pytest.raises(StorageError):
        store.sweep(log, NOW)
    assert store.open_path(row.picture).exists()
    monkeypatch.undo()
    assert store.sweep(log, NOW) == 1


def test_folders_that_are_no_days_are_left_alone(log: InspectionLog, tmp_path: Path) -> None:
    odd = tmp_path / "store" / "2026" / "13" / "41"
    odd.mkdir(parents=True)
    (odd / f"{'a' * 32}.png").touch()
    os.utime(odd / f"{'a' * 32}.png", (0, 0))
    assert PictureStore(tmp_path / "store", "all", 1, 0).sweep(log) == 0
    assert len(files(tmp_path / "store")) == 1
