import pytest

from ppcls_sspcab.utils import files
from ppcls_sspcab.utils.files import atomic_folder


@pytest.fixture(params=[True, False], ids=["one step", "two renames"])
def target(request, tmp_path, monkeypatch):
    if not request.param:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    return tmp_path / "deep" / "model"


def write(target, text):
    with atomic_folder(target) as folder:
        (folder / text).write_text(text)


def test_the_new_folder_takes_the_place_of_the_old_one(target):
    write(target, "one")
    write(target, "two")
    assert [file.name for file in target.iterdir()] == ["two"]
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_what_was_there_and_nothing_else(target):
    for before in ([], ["one"]):
        with pytest.raises(RuntimeError), atomic_folder(target) as folder:
            (folder / "half").write_text("")
            raise RuntimeError
        assert [file.name for file in target.parent.rglob("*") if file.is_file()] == before
        write(target, "one")
    assert list(target.parent.iterdir()) == [target]


def test_old_and_new_change_places_in_one_step(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not files._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system or C library cannot exchange two paths")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
