"""``Engine(config, mode)`` with ``train()``, ``eval()``, ``infer()`` and ``export()``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.parts import check_parts
from ppcls_sspcab.data.build import categories
from ppcls_sspcab.engine.device import use_device
from ppcls_sspcab.engine.hold import held
from ppcls_sspcab.errors import ConfigError, OutputError, UserError, one_line
from ppcls_sspcab.paths import summary_file
from ppcls_sspcab.result import Verdicts, check_threshold
from ppcls_sspcab.utils.distributed import is_first, join
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.logger import get_logger

if TYPE_CHECKING:
    from ppcls_sspcab.detector.detector import Detector
    from ppcls_sspcab.evaluation.results import Results

Mode = Literal["train", "eval", "infer", "export"]
T = TypeVar("T")


class Engine:
    """Trains, evaluates, predicts with and exports the detectors of a configuration's categories.

    Args:
        mode: the method that will be called.

    Raises:
        ConfigError: a device, plug-in or value that is not there.
        DataError: a data set that is not there.
    """

    def __init__(self, config: Config, mode: Mode) -> None:
        self.config = config
        with config.naming_files():
            config.load_plugins()
            check_parts(config)
            use_device(config.Global.device)
            if mode == "train" and config.Global.pretrained_model:
                raise ConfigError(
                    "Global.pretrained_model", "training starts from the weights of Arch.pretrained"
                )
            join()
            # Predicting and exporting need no data set, only the detector's folder.
            needs_data = mode in ("train", "eval") or config.Global.category == "all"
            self.categories = categories(config) if needs_data else [config.Global.category]

    def train(self) -> list[Path]:
        """Trains a detector for each category and returns their files.

        Raises:
            OutputError: another run is writing into one of the categories' folders.
            UserError: a category failed; with several, after the others were trained.
        """
        configs = [self._resuming(self._of(category)) for category in self.categories]
        with ExitStack() as folders:
            for config in configs:
                folders.enter_context(held(config.folder.root))
            done, failed = self._each(self.train_category, configs)
        self._require_none(failed)
        return done

    def train_category(self, config: Config) -> Path:
        """Trains the detector of one category and returns its file; PaddleClas's engine differs."""
        from ppcls_sspcab.engine.train import train_category

        return train_category(config)

    def eval(
        self,
        report: bool = False,
        detector: Detector | None = None,
        threshold: float | None = None,
    ) -> list[Results]:
        """Measures each category's detector on its test pictures.

        Writes ``results.{json,csv,md}`` and ``plots/`` and returns the ``Results``.

        Args:
            report: also write ``report.html``, with all test pictures.
            detector: instead of the one that the configuration names; of one category.
            threshold: instead of the calibrated one, in the unit of the scores.
        """
        from ppcls_sspcab.engine.evaluate import evaluate_category
        from ppcls_sspcab.evaluation.tables import summary_table

        if detector is not None and len(self.categories) > 1:
            raise ConfigError("Global.category", "a detector is one category's, not 'all'")
        if threshold is not None:
            try:
                check_threshold(threshold)
            except ValueError as error:
                raise UserError(str(error)) from error
        results, failed = self._each(
            lambda config: evaluate_category(config, report, detector, threshold),
            [self._of(category) for category in self.categories],
        )
        if len(results) > 1 and is_first():
            table = summary_table(results)
            output_dir = self.config.Global.output_dir
            with held(Path(output_dir)):  # removes what a killed evaluation left unfinished there
                atomic_write(summary_file(output_dir), table)
            print(table)
        self._require_none(failed)
        return results

    def infer(
        self,
        inputs: Sequence[str] | None = None,
        output: str | None = None,
        output_format: Literal["jsonl", "csv"] = "jsonl",
        threshold: float | None = None,
        save_maps: str | None = None,
    ) -> Verdicts:
        """Scores pictures, one record each, see
        :func:`ppcls_sspcab.engine.predict.predict_pictures`.

        Args:
            inputs: files, folders, globs, ``.txt`` lists; default ``Infer.infer_imgs``.

        Returns:
            how many were judged good, anomalous, and not at all.
        """
        from ppcls_sspcab.engine.predict import predict_pictures

        if len(self.categories) > 1:
            raise ConfigError("Global.category", "predicting needs one category, not 'all'")
        if not is_first():
            return Verdicts()
        config = self._of(self.categories[0])
        path = config.detector_to_use
        with config.naming_files():
            return predict_pictures(
                path, config, inputs or (), output, output_format, threshold, save_maps
            )

    def export(
        self,
        formats: Sequence[str] = ("paddle",),
        input_type: Literal["float32", "uint8"] = "float32",
        int8_max_drop: float | None = None,
    ) -> list[Path]:
        """Writes each category's detector for the runtimes, verified, and returns the folders.

        Args:
            int8_max_drop: given, also in INT8, which may cost so many points of AUROC on synthetic
                defects; this needs the good pictures of the data set.
        """
        from ppcls_sspcab.engine.export import export_category

        if not is_first():
            return []

        def export(config: Config) -> Path:
            folder = config.inference_folder
            if config.Global.save_inference_dir and len(self.categories) > 1:
                folder /= config.Global.category
            export_category(config, folder, formats, input_type, int8_max_drop)
            return folder

        done, failed = self._each(export, [self._of(category) for category in self.categories])
        self._require_none(failed)
        return done

    def _each(
        self, run: Callable[[Config], T], configs: Sequence[Config]
    ) -> tuple[list[T], dict[str, UserError]]:
        """What ``run`` returns for each category, and the errors of those that failed, by name.

        Of several categories, one that fails does not keep the others from their turn. A wrong
        configuration and an output that cannot be written end the run: they are no single one's.
        """
        done, failed = [], {}
        for config in configs:
            try:
                done.append(run(config))
            except (ConfigError, OutputError):
                raise
            except UserError as error:
                if len(configs) == 1:
                    raise
                failed[config.Global.category] = error
                get_logger().error(f"{config.Global.category}: {one_line(error)}")
        return done, failed

    def _require_none(self, failed: Mapping[str, UserError]) -> None:
        for name, error in failed.items():
            raise UserError(
                f"{len(failed)} of {len(self.categories)} categories failed: {', '.join(failed)}; "
                f"the others are done; {name}: {error}"
            ) from error

    def _resuming(self, config: Config) -> Config:
        """Of several categories, one that an interrupted run has not begun begins anew."""
        name = config.Global.checkpoints
        if len(self.categories) == 1 or name not in ("latest", "best"):
            return config
        if config.folder.checkpoint(name).is_file():
            return config
        get_logger().info(f"{config.Global.category}: has no checkpoint {name!r}, begins anew")
        return config.with_values(checkpoints=None)

    def _of(self, category: str) -> Config:
        return self.config.with_values(category=category)
