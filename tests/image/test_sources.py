import io
import logging
import os
from contextlib import contextmanager

import numpy as np
import pytest

from ppcls_sspcab.data.samples import pictures_in
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.image.sources import as_pictures, find_pictures


@contextmanager
def attached(logger, handler):
    """The project's logger passes nothing on to pytest's own handler."""
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "note.md", ".hidden.png", "sub/c.tif", "[1].bmp", "1.bmp"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    return tmp_path


def names(folder, paths):
    return [path.removeprefix(f"{folder}/") for path in paths]


def test_a_folder_is_searched_through_and_sorted(folder):
    found = names(folder, find_pictures([str(folder)]))
    assert found == ["1.bmp", "[1].bmp", "a.JPG", "b.png", "sub/c.tif"]


def test_links_to_folders_are_followed_once_and_what_is_left_out_is_counted(folder, caplog):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("x.jfif", "y.pgm", "z.gif", "w.jp2", "v.JP2", "noext"):
        (elsewhere / name).touch()
    (folder / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._a.png").touch()
    log = logging.getLogger("ppcls_sspcab")
    with caplog.at_level(logging.WARNING), attached(log, caplog.handler):
        found = names(folder, find_pictures([str(folder)]))
    assert found == [
        *("1.bmp", "[1].bmp", "a.JPG", "b.png"),
        *("link/x.jfif", "link/y.pgm", "link/z.gif", "sub/c.tif"),
    ]
    (said,) = caplog.messages
    assert said == (
        f"{folder}: 8 pictures; left out: 2 .jp2, 1 .md, 2 hidden, "
        "1 links to folders that were seen, 1 without suffix"
    )


def test_a_folder_that_may_not_be_listed_is_named(folder, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="sub: the folder cannot be read"):
        find_pictures([str(folder)])


def test_data_sets_and_predict_find_the_same_pictures(folder):
    expected = find_pictures([str(folder)])
    assert [str(path) for path in pictures_in(folder)] == expected


def test_a_hidden_folder_above_does_not_matter(folder):
    moved = folder.parent / ".cache"
    folder.rename(moved)
    assert len(find_pictures([str(moved)])) == 5


def test_globs_and_files_keep_the_order_given(folder):
    found = find_pictures([f"{folder}/b.png", f"{folder}/**/*.[tJ]*", f"{folder}/[1].bmp"])
    assert names(folder, found) == ["b.png", "a.JPG", "sub/c.tif", "[1].bmp"]


def test_a_list_is_relative_to_its_folder_and_may_name_what_is_absent(folder):
    text = folder / "list.txt"
    text.write_bytes("\ufeffsub/c.tif\r\n\r\nabsent.png\r\n/root/d.png\n".encode())
    found = find_pictures([str(text)])
    assert found == [f"{folder}/sub/c.tif", f"{folder}/absent.png", "/root/d.png"]


def test_a_list_ends_its_lines_at_line_feeds_only(folder):
    text = folder / "list.txt"
    text.write_text("one\u2028two.png\n a\x0bb\x85c.png \n\u3000.png", encoding="utf-8")
    expected = ["one\u2028two.png", "a\x0bb\x85c.png", "\u3000.png"]
    assert find_pictures([str(text)]) == [f"{folder}/{name}" for name in expected]


@pytest.mark.parametrize("name", ["absent.png", "*.gif", "empty", "empty.txt"])
def test_what_stands_for_nothing_is_named(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=name.replace("*", r"\*")):
        find_pictures([str(tmp_path / name)])


def test_one_picture_is_a_list_of_one_and_a_stack_is_many(tmp_path):
    for one in (
        "a.png",
        tmp_path / "a.png",
        b"bytes",
        bytearray(b"bytes"),
        memoryview(b"bytes"),
        io.BytesIO(b"bytes"),
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 3), np.uint8),
        np.zeros(7, np.uint8),
        7,
    ):
        (found,) = as_pictures(one)
        assert found is one
    stack = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    assert [picture.tolist() for picture in as_pictures(stack)] == stack.tolist()
    assert list(as_pictures(["a.png", b"bytes"])) == ["a.png", b"bytes"]
    assert list(as_pictures(name for name in ("a.png", "b.png"))) == ["a.png", "b.png"]


def test_preprocessing_takes_one_picture_too():
    preprocess = Preprocess(image_size=(4, 5))
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    np.testing.assert_array_equal(preprocess(pixels), preprocess([pixels]))
    assert preprocess(np.stack([pixels] * 2)).shape == (2, 3, 4, 5)
