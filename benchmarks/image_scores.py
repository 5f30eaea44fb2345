"""Every image score of one trained detector, on synthetic defects and on the test pictures.

``python benchmarks/image_scores.py -c YAML -o Global.category=grid`` takes the network of
``<output_dir>/<category>/detector.safetensors`` as it is, fits all candidates of ``Score: auto``,
or of ``-o "Score={name: auto, scores: [...]}"``, to the good pictures, and prints their image
AUROC: of synthetic defects and of bad test pictures, both against held-out good pictures, and on
the test pictures. The two test columns are a diagnosis: ``auto`` chooses by the synthetic one, and
nothing reads the others. What the second has more than the third is lost to good test pictures that
are unlike the held-out ones. Of several YAMLs (``-c
study_output/runs/*/seed_*/*/run.yaml``) those of one category are averaged.

``--ranks`` prints instead how well synthetic defects rank scores and recipes of one category:
Spearman's correlation of the synthetic column with each of the others over all scores of all YAMLs,
and how much the chosen score loses on the test pictures against the best one.

``--epochs`` follows a training that kept its checkpoints (``Global.save_interval=1``): what
``auto`` takes after each epoch, and what the test pictures would have said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.table import markdown_table, mean_and_spread, number

if TYPE_CHECKING:
    from paddle import nn

    from ppcls_sspcab.fitting.validation import Comparison


class Figures(NamedTuple):
    """Image AUROC of every image score by its name.

    Attributes:
        synthetic: of synthetic defects against held-out good pictures.
        bad: of the bad test pictures against held-out good pictures.
        test: of the test pictures.
    """

    synthetic: Comparison
    bad: dict[str, float]
    test: dict[str, float]


COLUMNS: dict[str, Callable[[Figures], dict[str, float]]] = {
    "synthetic defects": lambda figures: figures.synthetic.aurocs,
    "bad test pictures": lambda figures: figures.bad,
    "test pictures": lambda figures: figures.test,
}


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
    overrides = ["Score={name: auto}", *options.override]
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
        for title, aurocs in COLUMNS.items()
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
        synthetic, *others = (
            [auroc for run in runs for auroc in aurocs(run).values()] for aurocs in COLUMNS.values()
        )
        ranks = [number(spearmanr(synthetic, other).statistic) for other in others]
        losses = [max(run.test.values()) - run.test[chosen_score(run.synthetic)] for run in runs]
        rows.append([category, len(runs), len(synthetic), *ranks, mean_and_spread(losses)])
    ranked = [f"Spearman's correlation, {title}" for title in list(COLUMNS)[1:]]
    header = ["category", "detectors", "scores of all", *ranked, "the chosen score loses"]
    return markdown_table(header, rows)


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
        found = score_figures(config, network)
        synthetic, tested = found.synthetic.aurocs, found.test
        taken, best = chosen_score(found.synthetic), max(tested, key=tested.__getitem__)
        figures = [f"{figure:.3f}" for figure in (synthetic[taken], tested[taken], tested[best])]
        steps = epoch * config.Global.iter_per_epoch
        rows.append([steps, taken, *figures[:2], f"{figures[2]} ({best})"])
    header = ["steps", "taken by `auto`", "synthetic defects", "test pictures"]
    return markdown_table([*header, "best score on test (not a result)"], rows)


def score_figures(config: Config, network: nn.Layer) -> Figures:
    """Fits every image score to the good pictures of a configuration, and measures it.

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
    parts = np.concatenate([parts, good_parts])
    bad, tested = {}, {}
    for name, (score, own) in detector.image_score.candidates(parts).items():
        scores, held_out_scores = np.split(combine(score, own), [len(labels)])
        tested[name] = float(image_auroc(labels, scores))
        both = np.concatenate([held_out_scores, scores[labels == 1]])
        bad[name] = float(image_auroc(np.arange(len(both)) >= len(good_parts), both))
    return Figures(synthetic, bad, tested)


if __name__ == "__main__":
    sys.exit(main())
