"""The short form of ``make soak``."""

from pathlib import Path

import pytest
import soak


@pytest.mark.slow
def test_killed_runs_leave_whole_files_and_come_right(tmp_path: Path) -> None:
    figure = soak.kills(tmp_path, 2, seed=1)
    assert figure.kept, figure


@pytest.mark.slow
def test_memory_does_not_grow_over_many_pictures(tmp_path: Path) -> None:
    # So few pictures hardly warm up, yet kept pictures and maps would be more than this.
    for figure in soak.long_run(tmp_path, 1500, growth=0.04):
        assert figure.kept, figure


def test_a_half_file_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(soak.Broken, match=r"results\.json is half a file"):
        soak.check_whole(tmp_path)
