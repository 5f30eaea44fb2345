"""Every image score of one trained detector, on synthetic defects and on the test pictures.

``python benchmarks/image_scores.py -c YAML -o Global.category=grid`` takes the network of
``<output_dir>/<category>/detector.safetensors`` as it is, fits all candidates of ``Score: auto`` to
the good pictures, and prints their image AUROC. The test column is a diagnosis: ``auto`` chooses by
the synthetic one, and nothing reads the other. Of several YAMLs (``-c
study_output/runs/*/seed_*/*/run.yaml``) those of one category are averaged.

``--ranks`` prints instead how well synthetic defects rank scores and recipes of one category:
Spearman's correlation of the two columns over all scores of all YAMLs, and how much the chosen
score loses on the test pictures against the best one.

``--epochs`` follows a training that kept its checkpoints (``Global.save_interval=1``): what
``auto`` takes after each epoch, and what the test pictures would have said.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.table import markdown_table, mean_and_spread, number

if TYPE_CHECKING:
    from paddle import nn

    from ppcls_sspcab.fitting.validation import Comparison

    Figures = tuple[Comparison, dict[str, float]]  # on synthetic defects, and on test pictures


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", required=True, nargs="+")
    parser.add_argument("-o", "--override", action="append", default=[])
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--epochs", action="store_true", help="after each, not only the last")
    shown.add_argument("--ranks", action="store_true", help="how synthetic defects rank all")
    options = parser.parse_args()
    launch()
    overrides = [*options.override, "Score={name: auto}"]
    configs = [load_config(path, overrides) for path in options.config]
    for config in configs:
        config.load_plugins()
    if options.epochs:
        for config in configs:
            print(f"{config.Global.category}, seed {config.Global.seed}\n\n{_by_epoch(config)}")
        return 0
    found: dict[str, list[Figures]] = {}
    for config in configs:
        network = load_detector(config.folder.detector).network
        found.setdefault(config.Global.category, []).append(score_figures(config, network))
    print(_ranks(found) if options.ranks else _by_score(found))
    return 0


def _by_score(found: dict[str, list[Figures]]) -> str:
    columns = {
        f"{category}, {title}": [aurocs(run) for run in runs]
        for category, runs in found.items()
        for title, aurocs in (
            ("synthetic defects", lambda run: run[0].aurocs),
            ("test pictures", lambda run: run[1]),
        )
    }
    rows = [
        [name, *(mean_and_spread([run[name] for run in runs]) for runs in columns.values())]
        for name in next(iter(columns.values()))[0]
    ]
    return markdown_table(["image score", *columns], rows)


def _ranks(found: dict[str, list[Figures]]) -> str:
    from scipy.stats import spearmanr

    from ppcls_sspcab.fitting.validation import chosen_score

    rows = []
    for category, runs in found.items():
        pairs = [
            (compared.aurocs[name], tested[name]) for compared, tested in runs for name in tested
        ]
        losses = [
            max(tested.values()) - tested[chosen_score(compared)] for compared, tested in runs
        ]
        rank = spearmanr(*zip(*pairs, strict=True)).statistic
        rows.append([category, len(runs), len(pairs), number(rank), mean_and_spread(losses)])
    header = ["category", "detectors", "scores of all", "Spearman's correlation"]
    return markdown_table([*header, "the chosen score loses"], rows)


def _by_epoch(config: Config) -> str:
    import paddle

    from ppcls_sspcab.arch.build import build_network
    from ppcls_sspcab.engine.checkpoint import load_network
    from ppcls_sspcab.fitting.validation import chosen_score

    paddle.seed(config.Global.seed)
    network = build_network(config)
    network.eval()
    rows = []
    for epoch in range(config.Global.epochs + 1):
        if epoch:
            path = config.folder.checkpoint(f"epoch_{epoch}")
            load_network(network, path)
        compared, tested = score_figures(config, network)
        synthetic, taken = compared.aurocs, chosen_score(compared)
        best = max(tested, key=tested.__getitem__)
        figures = [f"{figure:.3f}" for figure in (synthetic[taken], tested[taken], tested[best])]
        steps = epoch * config.Global.iter_per_epoch
        rows.append([steps, taken, *figures[:2], f"{figures[2]} ({best})"])
    header = ["steps", "taken by `auto`", "synthetic defects", "test pictures"]
    return markdown_table([*header, "best score on test (not a result)"], rows)


def score_figures(config: Config, network: nn.Layer) -> Figures:
    """Image AUROC of every image score by its name: on synthetic defects, and on test pictures.

    Args:
        config: its ``Score`` is ``auto``.
        network: trained, in evaluation mode.

    Raises:
        DataError: no good pictures are held out.
    """
    import numpy as np

    from ppcls_sspcab.data.build import (
        build_dataset,
        build_store,
        good_pictures,
        within_tolerance,
    )
    from ppcls_sspcab.detector.accelerated import accelerated
    from ppcls_sspcab.detector.build import unfitted_detector
    from ppcls_sspcab.errors import DataError
    from ppcls_sspcab.fitting.run import StoredFeatures, combine, stored_parts
    from ppcls_sspcab.fitting.validation import compare_scores
    from ppcls_sspcab.metric.image import image_auroc

    pictures = within_tolerance(good_pictures(config), config)
    good, held_out = pictures.train, pictures.held_out
    if held_out is None:
        raise DataError("Threshold.calibrate_on must be held_out: nothing else is left to compare")
    test = build_store(config, build_dataset(config).test, "reading")
    detector = unfitted_detector(config, network)
    size = config.DataLoader.Eval.sampler.batch_size
    with accelerated(detector):
        detector.fit(StoredFeatures(detector, good, size))
        good_parts, _ = stored_parts(detector, held_out, size, "held-out", pixels=1)
        detector.image_score.standardize(good_parts)
        synthetic = compare_scores(detector, config, held_out, good_parts)
        parts, _ = stored_parts(detector, test, size, "testing", pixels=1)
    labels = np.array([sample.label for sample in test.samples])
    tested = {
        name: float(image_auroc(labels, combine(score, own)))
        for name, (score, own) in detector.image_score.candidates(parts).items()
    }
    return synthetic, tested


if __name__ == "__main__":
    sys.exit(main())
