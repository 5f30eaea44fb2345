import pytest

from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.sources import find_pictures


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


@pytest.mark.parametrize("name", ["absent.png", "*.gif", "empty", "empty.txt"])
def test_what_stands_for_nothing_is_named(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=name.replace("*", r"\*")):
        find_pictures([str(tmp_path / name)])
