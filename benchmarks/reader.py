"""Speed of the training reader: 3-way triples from pictures in memory, and waiting in a training.

``python benchmarks/reader.py --output FILE.md``. The reference is what is written first with
PIL, ``paddle.vision`` and a tensor per view. Counted is the CPU time of one process, which says
"per core" and does not depend on who else wants the cores.
"""

from __future__ import annotations

import csv
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from ppcls_sspcab.utils.table import markdown_table

TARGET, MOST_WAITING = 4.0, 0.05
OURS, REFERENCE = "this project", "PIL + paddle.vision"
WORKERS = 2


def main() -> int:
    """Measures and publishes; as ``--worker`` it reads or trains."""
    parser = common.parser("Training reader, compared.")
    parser.add_argument("--size", type=int, default=256, help="side of a picture, pixels")
    parser.add_argument("--triples", type=int, default=50, help="of each turn")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--steps", type=int, default=8, help="of the training that may wait")
    parser.add_argument("--batch", type=int, default=8, help="its source pictures a step")
    parser.add_argument("--data", help="folder of the pictures; workers only")
    options = common.parsed(parser)
    if options.worker:
        _serve(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        common.write_category(Path(folder), "noise", options.pictures, 1, 1, options.size)
        words = ["--size", str(options.size), "--triples", str(options.triples), "--data", folder]
        words += ["--steps", str(options.steps), "--batch", str(options.batch)]
        parts = [_speed(options, words), _waiting(words)]
    title = f"The reader: 3-way triples of {options.size} px from pictures in memory"
    common.publish(title, parts, options.output)
    return 0


def _speed(options: Any, words: list[str]) -> str:
    worker = common.own_worker(__file__, ["--worker", "read", *words], launcher=True)
    calls = {name: partial(worker.ask, name) for name in (REFERENCE, OURS)}
    seconds = common.in_turns(calls, options.rounds)
    worker.close()
    rows = []
    for name, values in seconds.items():
        times = common.ratio(seconds[REFERENCE], values)
        speed = options.triples / statistics.median(values)
        target = f"{TARGET} x: {common.verdict(times, TARGET)}" if name == OURS else ""
        rows.append([name, f"{speed:.0f}", f"{times:.2f}", target])
    return markdown_table(["", "triples/s and core", "times the reference", "target"], rows)


def _waiting(words: list[str]) -> str:
    rows = []
    for recipe in ("full", "frozen"):
        worker = common.own_worker(__file__, ["--worker", recipe, *words], launcher=True)
        steps = worker.ask("train")[1:]  # the first one starts the workers
        worker.close()
        shares = [wait / whole for wait, whole in steps]
        whole = statistics.median(whole for _, whole in steps)
        target = f"{MOST_WAITING:.0%}: {common.verdict(max(shares), MOST_WAITING, True)}"
        share = f"{statistics.median(shares):.2%}"
        rows.append([recipe, f"{whole:.2f}", share, f"{max(shares):.2%}", target])
    header = ["training", "s/step", f"waiting, {WORKERS} workers", "at most", "target"]
    return markdown_table(header, rows)


def _serve(options: Any) -> None:
    if options.worker != "read":
        common.serve({"train": partial(_train, options)})
        return
    from ppcls_sspcab.data.samples import Sample
    from ppcls_sspcab.data.store import ImageStore
    from ppcls_sspcab.data.transforms.color_jitter import ColorJitter
    from ppcls_sspcab.data.transforms.cutpaste import CutPaste
    from ppcls_sspcab.data.transforms.random_translation import RandomTranslation
    from ppcls_sspcab.data.views import CutPasteViews
    from ppcls_sspcab.image.preprocess import Preprocess

    files = sorted((Path(options.data) / "noise/train/good").iterdir())
    preprocess = Preprocess((options.size, options.size))
    samples = [Sample(str(path), 0, "good", None, "train") for path in files]
    store = ImageStore(samples, preprocess, 1 << 30)
    store.warm(1)
    views = CutPasteViews(store, [RandomTranslation(), ColorJitter()], CutPaste(), preprocess, 0)
    reference = Reference([store[index] for index in range(len(store))])

    def timed(read: Callable[[int], Any]) -> float:
        started = time.process_time()
        for number in range(options.triples):
            read(number)
        return time.process_time() - started

    common.serve({OURS: lambda: timed(views.__getitem__), REFERENCE: lambda: timed(reference)})


def _train(options: Any) -> list[tuple[float, float]]:
    """Seconds of waiting and of everything, of each step of a real training."""
    import paddle

    from ppcls_sspcab.config.load import load_config
    from ppcls_sspcab.data.build import good_pictures
    from ppcls_sspcab.engine.trainer import Trainer
    from ppcls_sspcab.utils.weights import write_safetensors

    overrides = [
        f"Global.data_root={options.data}",
        "Global.category=noise",
        "Global.epochs=1",
        f"Global.iter_per_epoch={options.steps}",
        "Global.print_batch_step=1",
        f"Preprocess.image_size=[{options.size}, {options.size}]",
        f"DataLoader.Train.sampler.batch_size={options.batch}",
        f"DataLoader.Train.loader.num_workers={WORKERS}",
    ]
    if options.worker == "full":
        overrides += ["Arch.freeze=null", "Arch.untrained=null"]
    with tempfile.TemporaryDirectory() as folder:
        # Any weights cost the same; random ones that are frozen are refused without a file.
        weights = paddle.vision.models.resnet18().state_dict()
        path = Path(folder) / "weights.safetensors"
        write_safetensors(path, {name: value.numpy() for name, value in weights.items()}, {})
        overrides += [f"Global.output_dir={folder}", f"Arch.pretrained={path}"]
        config = load_config(common.CONFIGS / "cutpaste_sspcab_cpu.yaml", overrides)
        Trainer(config).fit(good_pictures(config))
        with config.folder.train_csv.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    return [(float(row["reader_cost"]), float(row["batch_cost"])) for row in rows]


class Reference:
    """The straightforward reader: three PIL pictures, each made a normalised tensor by itself.

    Args:
        pictures: uint8 [h, w, 3] each.
    """

    def __init__(self, pictures: list[Any]) -> None:
        from paddle.vision import transforms
        from PIL import Image

        self._pictures = [Image.fromarray(picture) for picture in pictures]
        self._jitter = transforms.ColorJitter(0.1, 0.1, 0.1, 0.1)
        self._finish = transforms.Compose(
            [
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __call__(self, number: int) -> Any:
        """Triple ``number``: float32 [3, 3, h, w]."""
        import paddle

        picture = self._jitter(self._shifted(self._pictures[number % len(self._pictures)]))
        views = [picture, self._normal(picture), self._scar(picture)]
        return paddle.stack([self._finish(view) for view in views])

    def _shifted(self, picture: Any) -> Any:
        from paddle.vision import transforms

        reach = int(0.05 * picture.width)
        wider = transforms.pad(picture, reach, padding_mode="reflect")
        return transforms.RandomCrop((picture.height, picture.width))(wider)

    def _normal(self, picture: Any) -> Any:
        area = random.uniform(0.02, 0.15) * picture.width * picture.height
        aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
        patch = self._cut(picture, round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect)))
        return self._pasted(picture, patch, None)

    def _scar(self, picture: Any) -> Any:
        scale = picture.width / 256
        width, length = random.uniform(2, 16) * scale, random.uniform(10, 25) * scale
        patch = self._cut(picture, max(2, round(width)), max(2, round(length)))
        turned = patch.convert("RGBA").rotate(random.uniform(-45, 45), expand=True)
        return self._pasted(picture, turned.convert("RGB"), turned.split()[-1])

    def _cut(self, picture: Any, width: int, height: int) -> Any:
        left = random.randint(0, picture.width - width)
        top = random.randint(0, picture.height - height)
        return self._jitter(picture.crop((left, top, left + width, top + height)))

    @staticmethod
    def _pasted(picture: Any, patch: Any, mask: Any) -> Any:
        left = random.randint(0, max(0, picture.width - patch.width))
        top = random.randint(0, max(0, picture.height - patch.height))
        pasted = picture.copy()
        pasted.paste(patch, (left, top), mask)
        return pasted


if __name__ == "__main__":
    sys.exit(main())
