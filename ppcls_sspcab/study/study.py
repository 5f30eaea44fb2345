"""``study``: every configuration, category and seed by the same command, beside its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.datasets.layouts import LAYOUTS
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.paths import StudyFolder
from ppcls_sspcab.registry import DATASETS
from ppcls_sspcab.study.device import check_device
from ppcls_sspcab.study.page import to_html
from ppcls_sspcab.study.plan import Run, chosen_categories, plan, read_configs, recipes
from ppcls_sspcab.study.rows import collect
from ppcls_sspcab.study.schedule import Schedule
from ppcls_sspcab.study.state import is_done, read_state
from ppcls_sspcab.study.tables import to_csv, to_dict, to_markdown
from ppcls_sspcab.utils.files import atomic_write, write_json
from ppcls_sspcab.utils.logger import get_logger


def run_study(
    configs: Sequence[str],
    output: Path,
    *,
    overrides: Sequence[str] = (),
    data_root: str | None = None,
    categories: str = "all",
    seeds: int = 3,
    devices: Sequence[str] = ("auto",),
    diagnose: bool = False,
) -> bool:
    """Trains, fits and evaluates every combination that is not done yet, and writes the tables.

    Args:
        configs: YAML files.
        output: folder for everything; a finished or interrupted run there is not begun anew.
        overrides: ``KEY=VALUE``, for all configurations.
        data_root: instead of each configuration's.
        categories: ``all``, or names between commas.
        seeds: how many; they are 0, 1, 2...
        devices: one run at a time on each: ``cpu``, ``gpu:0``, or ``auto`` as the configuration
            says.
        diagnose: also note the best AUROC on the test pictures while training.

    Returns:
        whether all runs are done.

    Raises:
        ConfigError, DataError: before anything is run.
        KeyboardInterrupt: after Ctrl-C; running ones have finished their step and saved.
    """
    if seeds < 1:
        raise ConfigError("--seeds", f"must be at least 1, not {seeds}")
    for device in devices:
        check_device(device)
    found = recipes(read_configs(configs, overrides, data_root, diagnose))
    names = chosen_categories(categories, _known_categories([recipe.config for recipe in found]))
    folder = StudyFolder(output)
    runs = plan(found, names, range(seeds), folder)
    try:
        Schedule(runs, devices).work()
    finally:
        _write(runs, folder, diagnose)
    failed = [run for run in runs if not is_done(run.folder)]
    for run in failed:
        error = read_state(run.folder).get("error")
        get_logger().error(f"{run}: {error}; see {run.folder.run_log}")
    return not failed


def _write(runs: Sequence[Run], folder: StudyFolder, diagnose: bool) -> None:
    """Writes what is found so far."""
    found = collect(runs)
    write_json(folder.json, to_dict(found, diagnose))
    atomic_write(folder.csv, to_csv(found, diagnose))
    atomic_write(folder.markdown, to_markdown(found, diagnose))
    atomic_write(folder.page, to_html(found, diagnose))
    get_logger().info(f"tables: {folder.csv}, {folder.json}, {folder.markdown}, {folder.page}")


def _known_categories(configs: Sequence[Config]) -> list[str]:
    """The categories of the data set, which must be the same for all configurations.

    Raises:
        ConfigError: they differ.
    """
    key = "DataLoader.Train.dataset.name"
    known: list[str] = []
    for config in configs:
        name = config.DataLoader.Train.dataset.get("name", "")
        with config.naming_files():
            if name not in LAYOUTS:  # a plug-in's; the registry's look-up loads Paddle
                config.load_plugins()
            layout = LAYOUTS.get(name) or DATASETS.get(name, key)
        found = layout.categories(config.Global.data_root)
        if known and found != known:
            raise ConfigError("Global.data_root", "the configurations have different categories")
        known = found
    return known
