"""Which good pictures are held out: by their content, whatever they are called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.split import GoodSplit, split_good
from ppcls_sspcab.errors import DataError


def made(folder: Path, contents: list[str]) -> list[Sample]:
    """A file of each content; splitting decodes none."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number, content in enumerate(contents):
        path = folder / f"{number:04d}.png"
        path.write_text(content)
        samples.append(Sample(str(path), 0, "good", None, "train"))
    return samples


def read(samples: list[Sample]) -> list[str]:
    return [Path(sample.path).read_text() for sample in samples]


def sides(split: GoodSplit) -> tuple[set[str], set[str]]:
    return set(read(split.train)), set(read(split.held_out))


def test_every_picture_is_on_one_side_in_its_order(tmp_path: Path) -> None:
    samples = made(tmp_path, [str(number) for number in range(50)])
    split = split_good(samples, 0.2, seed=0)
    assert sorted(read(split.train + split.held_out), key=int) == read(samples)
    assert read(split.train) == sorted(read(split.train), key=int)
    assert read(split_good(samples, 0, seed=0).train) == read(samples)
    contents = [sample.content for sample in split.train + split.held_out]
    assert len(set(contents)) == 50 and "" not in contents


def test_a_picture_stays_where_it_is_when_others_come_go_and_are_renamed(tmp_path: Path) -> None:
    contents = [str(number) for number in range(60)]
    train, apart = sides(split_good(made(tmp_path / "old", contents), 0.2, seed=3))
    more = [f"new {number}" for number in range(40)] + contents[::-1]
    train_later, apart_later = sides(split_good(made(tmp_path / "new", more), 0.2, seed=3))
    assert train < train_later and apart < apart_later
    train_fewer, apart_fewer = sides(split_good(made(tmp_path / "few", contents[::2]), 0.2, 3))
    assert train_fewer < train and apart_fewer < apart


def test_of_copies_the_first_counts(tmp_path: Path) -> None:
    contents = [str(number % 20) for number in range(100)]
    samples = made(tmp_path, contents)
    for share in (0, 0.3):
        split = split_good(samples, share, seed=0)
        assert sorted(read(split.train + split.held_out)) == sorted(contents[:20])
        first = {sample.path for sample in samples[:20]}
        assert {sample.path for sample in split.train + split.held_out} == first
        assert split.copies == 80


def test_what_was_trained_on_is_not_held_out(tmp_path: Path) -> None:
    samples = made(tmp_path, [str(number) for number in range(60)])
    trained_on = {sample.content for sample in split_good(samples, 0.5, seed=0).train}
    for seed in range(5):
        split = split_good(samples, 0.5, seed, trained_on)
        assert not trained_on & {sample.content for sample in split.held_out}
        assert len(split.held_out) > 5
    everything = {sample.content for sample in split_good(samples, 0, seed=0).train}
    with pytest.raises(DataError, match="trained on 60 of 60"):
        split_good(samples, 0.5, 0, everything)


def test_about_the_share_is_held_out_by_every_seed_another_part(tmp_path: Path) -> None:
    samples = made(tmp_path, [str(number) for number in range(1000)])
    parts = [sides(split_good(samples, 0.2, seed))[1] for seed in range(5)]
    # Four standard deviations of a binomial count.
    assert all(abs(len(part) - 200) < 4 * (1000 * 0.2 * 0.8) ** 0.5 for part in parts)
    # Of independent choices a twenty-fifth is common.
    assert all(len(parts[0] & part) < 80 for part in parts[1:])


@pytest.mark.parametrize("count", range(4, 12))
@pytest.mark.parametrize("share", [0.01, 0.2, 0.99])
def test_two_are_left_on_each_side(tmp_path: Path, count: int, share: float) -> None:
    samples = made(tmp_path, [str(number) for number in range(count)])
    for seed in range(5):
        assert min(map(len, sides(split_good(samples, share, seed)))) >= 2


def test_copies_do_not_make_enough_pictures(tmp_path: Path) -> None:
    samples = made(tmp_path, ["a", "b", "c"] * 5)
    with pytest.raises(DataError, match="15 good pictures, of which 3 differ; at least 4"):
        split_good(samples, 0.2, seed=0)


def test_a_missing_file_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    samples = made(tmp_path, [str(number) for number in range(8)])
    shutil.move(samples[0].path, tmp_path / "gone")
    split = split_good(samples, 0.2, seed=0)
    assert samples[0].path in {sample.path for sample in split.train + split.held_out}
