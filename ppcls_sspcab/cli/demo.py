"""The demo: one command from nothing to exported detectors on generated pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.data.generated import generate_demo
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.logger import get_logger

REQUIRED_IMAGE_AUROC = 0.90


def run_demo(config_path: str | Path, output: Path, overrides: Sequence[str]) -> None:
    """Generates pictures, then trains, evaluates, exports and predicts every category of them.

    The last line printed is ``DEMO OK image_auroc=<mean> seconds=<n> output=<folder>``.

    Args:
        config_path: ``configs/demo.yaml`` or one like it.
        output: folder for the pictures and everything that is made of them.
        overrides: texts ``Global.seed=1``.

    Raises:
        UserError: the mean image AUROC is under 0.90.
    """
    started = time.perf_counter()
    data = output / "data"
    folders = [f"Global.data_root={data}", f"Global.output_dir={output}"]
    config = load_config(config_path, [*overrides, *folders])
    get_logger().info(f"generating pictures in {data}")
    generate_demo(data, seed=config.Global.seed)
    engine = Engine(config, "train")
    engine.train()
    results = engine.eval()
    engine.export(["paddle"])
    for category in engine.categories:
        one = config.with_values(category=category)
        folder = one.folder
        Engine(one, "infer").infer([str(data / category / "test")], output=str(folder.predictions))
        print(
            f"{category}: scores in {folder.predictions}, figures in {folder.results_md}, "
            f"plots in {folder.plots}"
        )
    image_auroc = sum(result.image_auroc for result in results) / len(results)
    seconds = round(time.perf_counter() - started)
    if image_auroc < REQUIRED_IMAGE_AUROC:
        raise UserError(
            f"DEMO FAILED image_auroc={image_auroc:.4f} is under {REQUIRED_IMAGE_AUROC} "
            f"seconds={seconds} output={output}"
        )
    print(f"DEMO OK image_auroc={image_auroc:.4f} seconds={seconds} output={output}")
