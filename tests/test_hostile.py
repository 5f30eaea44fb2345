"""Untrusted files: each ends in one error; none runs anything."""

from pathlib import Path

import pytest
from hostile import HOSTILE, refused


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    assert refused(name, tmp_path / "place")
