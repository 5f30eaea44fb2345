"""``data check``: what a data set holds, and what is wrong with it, before anything is trained."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from ppcls_sspcab.data import compare
from ppcls_sspcab.data.compare import Comparison
from ppcls_sspcab.data.datasets.layouts import LAYOUTS, layout_of
from ppcls_sspcab.data.masks import MaskError, whole_mask
from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import LEAST_CONTRAST, contrast
from ppcls_sspcab.data.white import settled
from ppcls_sspcab.errors import DataError, did_you_mean, printable
from ppcls_sspcab.image.decode import ImageError, White, decode, decode_mask
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.utils.table import plain_table

SHOWN = 5  # problems of one kind that are named

# Masks whose marks are decided by another rule than "every value above 0".
MASK_RULES = {
    "level": "masks of grey levels (JPEG, soft edges), marked from half their largest value on",
    "opacity": "masks with transparency, marked where they are opaque",
}
FLAT = f"pictures that show nothing (values differ by less than {LEAST_CONTRAST} of 255)"
REMARKS = (*MASK_RULES.values(), FLAT, *compare.REMARKS)  # may be as they should be


@dataclasses.dataclass
class Group:
    """The pictures of one split and kind.

    Attributes:
        sizes: how many pictures there are of each (width, height) in pixels.
        modes: how many of each of Pillow's modes ("RGB", "L", ...).
        masked: how many have a mask.
    """

    split: str
    kind: str
    count: int = 0
    masked: int = 0
    sizes: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)
    modes: Counter[str] = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass
class Finding:
    """One category: its groups, in the order train, test, good, bad; and what is wrong."""

    category: str
    groups: list[Group]
    problems: dict[str, list[str]]
    notes: list[str]


def check(root: str, dataset: str | None = None, category: str | None = None) -> bool:
    """Prints a table for each category and whatever is wrong in it; returns whether nothing is.

    Args:
        root: folder of the data set, or a CSV file.
        dataset: name of the layout; default: the one that it looks like.
        category: only this one.

    Raises:
        DataError: no layout fits, or there is no category.
    """
    if dataset and dataset not in LAYOUTS:
        raise DataError(f"unknown data set {dataset!r}{did_you_mean(dataset, LAYOUTS)}")
    layout = LAYOUTS[dataset] if dataset else layout_of(Path(root))
    print(printable(f"{root}: {layout.__name__}"))
    names = [category] if category else layout.categories(root)
    findings = [_examine(layout, root, name) for name in names]
    for finding in findings:
        print("\n" + "\n".join(map(printable, _lines(finding))))
    wrong = [finding.category for finding in findings if finding.problems]
    state = "something is wrong in " + ", ".join(wrong) if wrong else "nothing is wrong"
    found = f"{len(findings)} {'category' if len(findings) == 1 else 'categories'}"
    print(f"\n{found}: {printable(state)}")
    return not wrong


def _examine(layout: Any, root: str, category: str) -> Finding:
    try:
        dataset = layout(root, category)
    except DataError as error:
        return Finding(category, [], {"the layout is wrong": [str(error)]}, [])
    samples = [*dataset.train, *dataset.test]
    groups: dict[tuple[str, int, str], Group] = {}
    inspected: list[tuple[str, str]] = []
    problems: dict[str, list[str]] = {}
    remarks: dict[str, list[str]] = {}
    white = settled(Preprocess(), dataset.train).white
    comparison = Comparison()
    for sample in tqdm(samples, desc=category, unit="pictures", disable=None, leave=False):
        key = (sample.split, sample.label, sample.defect)
        group = groups.setdefault(key, Group(sample.split, sample.defect))
        inspected += _inspect(sample, group, white, comparison)
    for kind, text in [*inspected, *comparison.remarks()]:
        found = remarks if kind in REMARKS else problems
        found.setdefault(kind, []).append(text)
    levels = {"auto": [], "full": ["pictures of more than 8 bits: the high byte counts"]}.get(
        str(white), [f"pictures of more than 8 bits: {white} becomes white, by the good ones"]
    )
    notes = levels + ([dataset.split_note] if getattr(dataset, "split_note", None) else [])
    bad = [sample for sample in dataset.test if sample.label == 1]
    bare = [sample.path for sample in bad if sample.mask_path is None]
    if bare and len(bare) < len(bad):
        problems["bad pictures without a mask, while others have one"] = bare
    elif bare:
        notes.append("no bad picture has a mask: maps cannot be measured")
    notes += [f"{len(paths)} x {kind}: {_some(paths)}" for kind, paths in remarks.items()]
    for kind, label in (("good", 0), ("bad", 1)):
        if not any(sample.label == label for sample in dataset.test):
            notes.append(f"no {kind} pictures to test on: no AUROC can be measured")
    order = sorted(groups, key=lambda key: (key[0] != "train", key[1], key[2]))
    return Finding(category, [groups[key] for key in order], problems, notes)


def _inspect(
    sample: Sample, group: Group, white: White, comparison: Comparison
) -> Iterator[tuple[str, str]]:
    """Counts a sample in its group and tells what is wrong with it."""
    group.count += 1
    group.masked += sample.mask_path is not None
    try:
        pixels = decode(sample.path, white)
    except ImageError as error:
        yield "unreadable pictures", str(error)
        return
    height, width = pixels.shape[:2]
    group.sizes[width, height] += 1
    with Image.open(sample.path) as picture:
        group.modes[picture.mode] += 1
    if contrast(pixels) < LEAST_CONTRAST:
        yield FLAT, sample.path
    else:
        comparison.add(sample, pixels)
    try:
        mask = whole_mask(sample)
    except MaskError as error:
        yield error.kind, str(error)
        return
    if mask is None:
        return
    if mask.shape != (height, width):
        size = f"{mask.shape[1]}x{mask.shape[0]}, its picture {width}x{height}"
        yield "masks of another size than their pictures", f"{sample.mask_path} is {size}"
    for path in (sample.mask_path, *sample.further_masks):
        rule = decode_mask(str(path))[1]
        if rule in MASK_RULES:
            yield MASK_RULES[rule], str(path)


def _lines(finding: Finding) -> Iterator[str]:
    yield finding.category
    header = ("split", "kind", "pictures", "sizes", "modes", "masks")
    rows = [
        (
            group.split,
            group.kind,
            str(group.count),
            _sizes(group.sizes),
            _modes(group.modes),
            "" if group.kind == "good" else f"{group.masked} of {group.count}",
        )
        for group in finding.groups
    ]
    if rows:
        yield from (f"  {line}" for line in plain_table([header, *rows]))
    for note in finding.notes:
        yield f"  note: {note}"
    for problem, texts in finding.problems.items():
        yield f"  WRONG: {len(texts)} x {problem}"
        yield from (f"    {text}" for text in texts[:SHOWN])
        if len(texts) > SHOWN:
            yield f"    and {len(texts) - SHOWN} more"


def _some(paths: list[str]) -> str:
    more = len(paths) - SHOWN
    return ", ".join(paths[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _modes(modes: Counter[str]) -> str:
    """ "RGB", or "L 1, RGB 5"."""
    if len(modes) < 2:
        return "".join(modes)
    return ", ".join(f"{mode} {count}" for mode, count in sorted(modes.items()))


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    """ "900x900", or the smallest and largest width and height, and how many there are."""
    if len(sizes) < 2:
        return "".join(f"{width}x{height}" for width, height in sizes)
    widths, heights = zip(*sizes, strict=True)
    return f"{min(widths)}-{max(widths)} x {min(heights)}-{max(heights)} ({len(sizes)} different)"
