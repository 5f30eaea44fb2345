"""A procedural data set in MVTec layout: an object (``gasket``) and a texture (``mesh``).

``python -m ppcls_sspcab.data.demo --output DIR --seed 0`` writes it. The same seed gives the same
pictures; a mask holds exactly the pixels that the defect changes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ppcls_sspcab.errors import DataError, UserError, one_line
from ppcls_sspcab.utils.files import atomic_path

DEFECTS = {
    "gasket": ("scratch", "contamination", "missing_part", "misplaced_part"),
    "mesh": ("broken_wire", "bent_wire", "contamination"),
}
_SAMPLING = 3  # rays along each side of a pixel
_BOLTS = 6
_WIRES = 9  # across the picture
_WIRE = 0.29  # radius, in distances between wires
_STEEL = np.array((0.97, 1.0, 1.04))
_BRASS = np.array((1.0, 0.84, 0.5))
_STAINS = np.array(((74.0, 48.0, 30.0), (28.0, 30.0, 34.0), (226.0, 220.0, 200.0)))


def generate_demo(
    root: str | Path,
    seed: int = 0,
    *,
    size: int = 128,
    train: int = 60,
    test: int = 15,
    bad: int = 8,
) -> None:
    """Writes both categories below ``root``.

    Args:
        root: folder of the data set; what an earlier call wrote there is replaced.
        seed: from 0.
        size: height and width in pixels, at least 32.
        train: good pictures to train on, for each category.
        test: good pictures to test on.
        bad: pictures of each kind of defect.

    Raises:
        DataError: a number is out of range, or ``root`` holds other files of these categories.
    """
    if size < 32 or min(train, test, bad, seed) < 0:
        raise DataError("the demo data need size >= 32 and no negative number")
    splits: list[tuple[str, str | None, int]] = []
    for category, defects in DEFECTS.items():
        splits += [(f"{category}/train/good", None, train), (f"{category}/test/good", None, test)]
        splits += [(f"{category}/test/{defect}", defect, bad) for defect in defects]
    _refuse_strangers(Path(root), splits)
    for number, (folder, defect, count) in enumerate(splits):
        category, _, kind = folder.split("/")
        for index in range(count):
            image, mask = render(category, defect, (seed, number, index), size)
            _save(Path(root) / folder / f"{index:03d}.png", image)
            if defect is not None:
                truth = Path(root) / category / "ground_truth" / kind / f"{index:03d}_mask.png"
                _save(truth, mask.astype(np.uint8) * 255)


def render(
    category: str, defect: str | None, seed: Sequence[int], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One picture.

    Args:
        category: "gasket" or "mesh".
        defect: one of ``DEFECTS[category]``; with None the same part without it.
        seed: whole numbers from 0; decides everything else.
        size: height and width in pixels.

    Returns:
        uint8 RGB [size, size, 3], and bool [size, size], the pixels that the defect changes.
    """
    draw = {"gasket": _gasket, "mesh": _mesh}[category]

    def picture(kind: str | None) -> np.ndarray:
        # The defect has a generator of its own, so that all else stays as without it.
        drawn = draw(_rng(seed, 0), size, kind, _rng(seed, 1))
        return _exposed(drawn, _rng(seed, 2))

    good = picture(None)
    if defect is None:
        return good, np.zeros((size, size), bool)
    bad = picture(defect)
    return bad, (bad != good).any(axis=2)


def _rng(seed: Sequence[int], purpose: int) -> np.random.Generator:
    return np.random.default_rng([*seed, purpose])


def _gasket(
    rng: np.random.Generator, size: int, defect: str | None, chance: np.random.Generator
) -> np.ndarray:
    """A turned flange with a keyed bore and brass bolts: float [S, S, 3] in 0..255."""
    x, y = _frame(rng, size, shift=0.03, turn=5.0)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    marks = 3.5 * np.interp(radius * 130, np.arange(200), rng.normal(0, 1, 200))
    metal = 112 + marks + 16 * np.cos(2 * (angle - rng.uniform(0.5, 0.7)))
    key = np.minimum(0.07 - np.abs(x), np.minimum(-y, y + 0.37))
    edge = np.minimum(0.86 - radius, -np.maximum(0.28 - radius, key))  # > 0 inside the part
    bevel = np.clip(1 - edge / 0.04, 0, 1) * 55 * np.cos(angle + 2.2) * np.sign(radius - 0.55)
    shadow = 1 - 0.35 * np.clip(1 - np.hypot(x - 0.05, y - 0.06).clip(0.86) / 0.93, 0, 1) / 0.075
    picture = shadow[..., None] * (196.0, 201.0, 206.0)
    part = edge > 0
    picture[part] = (metal + bevel)[part, None] * _STEEL

    turns = np.arange(_BOLTS) * 2 * math.pi / _BOLTS
    seats = np.stack([np.cos(turns), np.sin(turns)], axis=1) * 0.57
    offsets = np.zeros((_BOLTS, 2))
    present = np.ones(_BOLTS, bool)
    concerned = int(chance.integers(_BOLTS))
    if defect == "missing_part":
        present[concerned] = False
    if defect == "misplaced_part":
        way = chance.uniform(0, 2 * math.pi)
        offsets[concerned] = chance.uniform(0.1, 0.14) * np.array([math.cos(way), math.sin(way)])
    for seat, offset, there in zip(seats, offsets, present, strict=True):
        picture[np.hypot(x - seat[0], y - seat[1]) < 0.085] = (34.0, 36.0, 40.0)
        turn = rng.uniform(0, math.pi / 3)
        if there:
            _add_bolt(picture, x - seat[0] - offset[0], y - seat[1] - offset[1], turn)

    if defect == "scratch":
        _add_scratch(picture, x, y, chance)
    if defect == "contamination":
        place = chance.uniform(0.4, 0.72), chance.uniform(0, 2 * math.pi)
        middle = place[0] * math.cos(place[1]), place[0] * math.sin(place[1])
        _add_stain(picture, x - middle[0], y - middle[1], chance)
    return picture


def _add_bolt(picture: np.ndarray, x: np.ndarray, y: np.ndarray, turn: float) -> None:
    """Draws a washer and a hexagonal head around (0, 0)."""
    washer = np.hypot(x, y) < 0.12
    radius, angle = np.hypot(x[washer], y[washer]), np.arctan2(y[washer], x[washer])
    light = np.cos(angle + 2.2)
    flat = radius * np.cos((angle - turn) % (math.pi / 3) - math.pi / 6)
    head = 205 + np.where(flat > 0.06, 40 * light, 0)
    picture[washer] = np.where(flat < 0.078, head, 150 + 28 * light)[:, None] * _BRASS


def _mesh(
    rng: np.random.Generator, size: int, defect: str | None, chance: np.random.Generator
) -> np.ndarray:
    """A plain weave of round wires: float [S, S, 3] in 0..255."""
    x, y = _frame(rng, size, shift=0.0, turn=2.0)
    phase = rng.uniform(0, 2, 2) + 20  # two periods of the weave are its true period
    place = chance.uniform(-0.55, 0.55, 2)  # where a defect is
    wires = [_WIRES / 2 * x + phase[0], _WIRES / 2 * y + phase[1]]
    spot = [_WIRES / 2 * place[0] + phase[0], _WIRES / 2 * place[1] + phase[1]]
    concerned = int(chance.integers(2)) if defect in ("broken_wire", "bent_wire") else None
    layers = []
    for axis in (0, 1):
        across, along, sign = wires[axis], wires[1 - axis], (1, -1)[axis]
        wire = np.floor(across)
        offset = across - wire - 0.5
        height = sign * np.cos(math.pi * (along - 0.5)) * np.where(wire % 2 == 0, 1, -1)
        if axis == concerned:
            own, start = math.floor(spot[axis]), spot[1 - axis]
            if defect == "broken_wire":
                gap = (wire == own) & (np.abs(along - start) < chance.uniform(0.7, 1.3))
                offset = np.where(gap, 1.0, offset)
            else:
                reach = chance.choice([-1, 1]) * chance.uniform(0.55, 0.9)
                bow = reach * np.exp(-(((along - start) / chance.uniform(0.8, 1.3)) ** 2))
                bent = across - own - 0.5 - bow
                offset = np.where(wire == own, 1.0, offset)
                over = np.abs(bent) < _WIRE
                offset = np.where(over, bent, offset)
                height = np.where(over & (np.abs(bow) > 0.1), 1.5, height)
        layers.append((offset / _WIRE, height))
    picture = _woven(layers)
    if defect == "contamination":
        _add_stain(picture, x - place[0], y - place[1], chance)
    return picture


def _woven(layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Two layers of wires, each (offset from the wire's middle in radii, height in -1..1)."""
    picture = np.empty((*layers[0][0].shape, 3))
    picture[:] = (44.0, 50.0, 58.0)
    top = np.full(picture.shape[:2], -np.inf)
    for offset, height in layers:
        seen = (np.abs(offset) < 1) & (height > top)
        across, up = offset[seen], height[seen]
        shine = 70 * np.exp(-(((across + 0.3) / 0.28) ** 2))
        light = (60 + 95 * np.sqrt(1 - across**2) + shine) * (0.84 + 0.16 * np.clip(up, -1, 1))
        picture[seen] = light[:, None] * _STEEL
        top[seen] = up
    return picture


def _frame(
    rng: np.random.Generator, size: int, shift: float, turn: float
) -> tuple[np.ndarray, np.ndarray]:
    """x and y of each ray in the part's own frame, from about -1 to 1; both [S, S]."""
    rays = size * _SAMPLING
    line = (np.arange(rays) + 0.5) / rays * 2 - 1
    x, y = line[None, :] - rng.uniform(-shift, shift), line[:, None] - rng.uniform(-shift, shift)
    angle = math.radians(rng.uniform(-turn, turn))
    return (
        x * math.cos(angle) + y * math.sin(angle),
        y * math.cos(angle) - x * math.sin(angle),
    )


def _add_scratch(
    picture: np.ndarray, x: np.ndarray, y: np.ndarray, chance: np.random.Generator
) -> None:
    """Draws a bent line of changing width across the flange."""
    around = chance.uniform(0, 2 * math.pi)
    middle = 0.57 * np.array([math.cos(around), math.sin(around)])
    heading = chance.uniform(0, math.pi)
    half = chance.uniform(0.2, 0.35) * np.array([math.cos(heading), math.sin(heading)])
    bow = chance.uniform(-0.12, 0.12) * np.array([-math.sin(heading), math.cos(heading)])
    width = chance.uniform(0.014, 0.022)
    shade = chance.choice([235.0, 45.0])
    around_it = np.nonzero(np.hypot(x - middle[0], y - middle[1]) < 0.5)
    near_x, near_y = x[around_it], y[around_it]
    hit = np.zeros(len(near_x), bool)
    for part in np.linspace(-1, 1, 160):
        point = middle + part * half + (1 - part**2) * bow
        hit |= np.hypot(near_x - point[0], near_y - point[1]) < width * (1 - 0.6 * part**2)
    picture[around_it[0][hit], around_it[1][hit]] = shade


def _add_stain(
    picture: np.ndarray, x: np.ndarray, y: np.ndarray, chance: np.random.Generator
) -> None:
    """Draws a blot with a ragged edge around (0, 0), darkest in its middle."""
    angle = np.arctan2(y, x)
    edge = np.full(x.shape, chance.uniform(0.11, 0.17))
    for wave in range(2, 6):
        swing = chance.uniform(0, 0.3) / wave
        edge *= 1 + swing * np.cos(wave * angle + chance.uniform(0, 2 * math.pi))
    depth = np.hypot(x, y) / edge
    color = _STAINS[int(chance.integers(len(_STAINS)))]
    covered = depth < 1
    shade = color * (0.85 + 0.15 * depth[covered, None])
    picture[covered] = 0.08 * picture[covered] + 0.92 * shade


def _exposed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Averages rays to pixels, under a light of its own, with the noise of a camera."""
    size = picture.shape[0] // _SAMPLING
    pixels = picture.reshape(size, _SAMPLING, size, _SAMPLING, 3).mean(axis=(1, 3))
    line = np.linspace(-1, 1, size)
    slope = rng.uniform(-0.05, 0.05, 2)
    light = rng.uniform(0.95, 1.05) + slope[0] * line[:, None] + slope[1] * line[None, :]
    noise = rng.normal(0, 2.0, (size, size, 1)) + rng.normal(0, 1.0, (size, size, 3))
    return np.rint(pixels * light[..., None] + noise).clip(0, 255).astype(np.uint8)


def _refuse_strangers(root: Path, splits: list[tuple[str, str | None, int]]) -> None:
    """A picture left by a call with other counts would belong to no one's data set."""
    ours = set()
    for folder, defect, count in splits:
        category, _, kind = folder.split("/")
        for index in range(count):
            ours.add(root / folder / f"{index:03d}.png")
            if defect is not None:
                ours.add(root / category / "ground_truth" / kind / f"{index:03d}_mask.png")
    for category in DEFECTS:
        for path in sorted((root / category).rglob("*")):
            if not path.is_dir() and path not in ours:
                raise DataError(f"{root} holds other data ({path}): choose or empty a folder")


def _save(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ppcls_sspcab.data.demo", description="Writes the demo data set."
    )
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels")
    parser.add_argument("--train", type=int, default=60, help="good pictures to train on")
    parser.add_argument("--test", type=int, default=15, help="good pictures to test on")
    parser.add_argument("--bad", type=int, default=8, help="pictures of each kind of defect")
    options = parser.parse_args(arguments)
    try:
        generate_demo(
            options.output,
            options.seed,
            size=options.size,
            train=options.train,
            test=options.test,
            bad=options.bad,
        )
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"{options.output}: {', '.join(DEFECTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
