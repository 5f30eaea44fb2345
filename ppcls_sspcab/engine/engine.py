"""``Engine(config, mode)`` with ``train()``, ``eval()``, ``infer()`` and ``export()``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.parts import check_parts
from ppcls_sspcab.data.build import build_dataset, build_store, categories, good_stores, open_store
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.detector.run import detect, gather
from ppcls_sspcab.errors import ConfigError, DataError
from ppcls_sspcab.fitting.fit import fit_detector
from ppcls_sspcab.fitting.run import run_store
from ppcls_sspcab.fitting.save import save_detector
from ppcls_sspcab.image.maps import MapWriter
from ppcls_sspcab.metric.image import image_auroc
from ppcls_sspcab.registry import POSTPROCESSES
from ppcls_sspcab.utils.distributed import is_first, join
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.lock import folder_lock
from ppcls_sspcab.utils.logger import get_logger, log_file


class Engine:
    """Runs the verbs over the categories of a configuration.

    Args:
        config: checked configuration.
        mode: the verb that will be called.

    Raises:
        ConfigError: a device, plug-in or value that is not there.
        DataError: a data set that is not there.
    """

    def __init__(self, config: Config, mode: Literal["train", "eval", "infer", "export"]) -> None:
        self.config = config
        self.mode = mode
        with config.naming_files():
            config.load_plugins()
            check_parts(config)
            _set_device(config.Global.device)
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
        """
        configs = [self._resuming(self._of(category)) for category in self.categories]
        with ExitStack() as held:
            for config in configs:
                held.enter_context(writing(config.folder.root))
            return [self._train(config) for config in configs]

    def eval(self, report: bool = False) -> list[Any]:
        """Measures each category's detector on its test pictures.

        Writes ``results.{json,csv,md}`` and ``plots/`` and returns the ``Results``.

        Args:
            report: also write ``report.html``, with all test pictures.
        """
        from ppcls_sspcab.evaluation.results import summary_table

        results = [self._eval(self._of(category), report) for category in self.categories]
        if len(results) > 1 and is_first():
            table = summary_table(results)
            atomic_write(Path(self.config.Global.output_dir) / "results.md", table)
            print(table)
        return results

    def infer(
        self,
        inputs: Sequence[str] | None = None,
        output: str | None = None,
        output_format: Literal["jsonl", "csv"] = "jsonl",
        threshold: float | None = None,
        save_maps: str | None = None,
    ) -> bool:
        """Scores pictures and writes one record each.

        Args:
            inputs: files, folders, globs, ``.txt`` lists; default ``Infer.infer_imgs``.
            output: file for the records; default standard output.
            threshold: instead of the calibrated one.
            save_maps: folder for the anomaly maps, three pictures each.

        Returns:
            whether an anomaly was found.
        """
        from ppcls_sspcab.detector.predict import predict
        from ppcls_sspcab.image.sources import find_pictures
        from ppcls_sspcab.result import Result, opened, write_records

        if len(self.categories) > 1:
            raise ConfigError("Global.category", "predicting needs one category, not 'all'")
        given = inputs or ([self.config.Infer.infer_imgs] if self.config.Infer.infer_imgs else [])
        if not given:
            raise ConfigError("Infer.infer_imgs", "give pictures, here or on the command line")
        if not is_first():
            return False
        config = self._of(self.categories[0])
        paths = find_pictures(given)
        detector = load_detector(config.detector_to_use)
        card = detector.card
        with config.naming_files():
            postprocess = POSTPROCESSES.build(
                config.Infer.PostProcess or {"name": "AnomalyDecision"},
                "Infer.PostProcess",
                threshold=float(detector.threshold) if threshold is None else threshold,
                scale=float(detector.scale),
            )
        maps = _map_writer(detector, save_maps, paths)
        counts = {"good": 0, "anomalous": 0, "unreadable": 0}
        with accelerated(detector), opened(output) as stream:
            records = predict(
                detector, card.preprocess, postprocess, paths, config.Infer.batch_size, maps
            )
            for record in write_records(records, stream, output_format):
                if isinstance(record, Result):
                    counts["anomalous" if record.is_anomaly else "good"] += 1
                else:
                    counts["unreadable"] += 1
        get_logger().info(
            f"{len(paths)} pictures: "
            + ", ".join(f"{count} {name}" for name, count in counts.items())
            + (f"; records in {output}" if output else "")
        )
        return counts["anomalous"] > 0

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
        from ppcls_sspcab.export.export import export_detector
        from ppcls_sspcab.export.quantize import int8_settings

        folders: list[Path] = []
        if not is_first():
            return folders
        for category in self.categories:
            config = self._of(category)
            detector = load_detector(config.detector_to_use)
            card = detector.card
            folder = config.inference_folder
            if config.Global.save_inference_dir and len(self.categories) > 1:
                folder /= category
            int8 = None
            if int8_max_drop is not None:
                int8 = int8_settings(config, card.preprocess, int8_max_drop)
            with nullcontext() if config.Global.save_inference_dir else writing(folder.parent):
                export_detector(detector, card, folder, formats, input_type, int8=int8)
            folders.append(folder)
            get_logger().info(f"exported {category} to {folders[-1]}")
        return folders

    def _resuming(self, config: Config) -> Config:
        """Of several categories, those that an interrupted run has not begun begin now."""
        name = config.Global.checkpoints
        if len(self.categories) == 1 or name not in ("latest", "best"):
            return config
        if (config.folder.root / "checkpoints" / f"{name}.safetensors").is_file():
            return config
        get_logger().info(f"{config.Global.category}: has no checkpoint {name!r}, begins anew")
        return config.with_values(checkpoints=None)

    def _of(self, category: str) -> Config:
        return self.config.with_values(category=category)

    def _train(self, config: Config) -> Path:
        from ppcls_sspcab.engine.trainer import Trainer

        folder = config.folder.root
        log = log_file(folder / "train.log") if is_first() else nullcontext()
        with config.naming_files(), log:
            trainer = Trainer(config, folder)
            unfitted_detector(config, trainer.network)
            build_threshold(config)
            if is_first():
                atomic_write(folder / "config.yaml", config.to_yaml())
            good, held_out = good_stores(config)
            validate = None
            if config.Global.model_selection == "val_synthetic":
                if held_out is None:
                    raise ConfigError(
                        "Global.model_selection",
                        "val_synthetic needs held-out pictures: Threshold.calibrate_on: held_out",
                    )
                from ppcls_sspcab.fitting.validation import synthetic_auroc

                def validate(network: paddle.nn.Layer) -> float:
                    return synthetic_auroc(network, config, good, held_out)

            diagnose = self._diagnosis(config, good, held_out)
            network = trainer.fit(good, validate, diagnose)
            progress = trainer.progress
            path = save_detector(network, config, good, held_out, progress, progress.seconds)
        return path

    def _diagnosis(
        self, config: Config, good: ImageStore, held_out: ImageStore | None
    ) -> Callable[[paddle.nn.Layer], float] | None:
        """Image AUROC on the test pictures while training, if ``eval_during_train`` asks for it.

        ``diagnosis.json`` keeps the largest one: what picking on the test set would have claimed.
        """
        if not config.Global.eval_during_train:
            return None
        record = config.folder.diagnosis
        if not config.Global.checkpoints:
            record.unlink(missing_ok=True)
        test = build_store(config, build_dataset(config).test, "reading")
        labels = np.array([sample.label for sample in test.samples])

        def diagnose(network: paddle.nn.Layer) -> float:
            network.eval()
            detector = fit_detector(network, config, good, held_out).detector
            size = config.eval_sampler.batch_size

            def run(images: np.ndarray) -> dict[str, np.ndarray]:
                return {"score": detect(detector, images)["score"]}

            with accelerated(detector):
                found = gather(run_store(run, test, config.Preprocess, size, "diagnosing"))
            auroc = float(image_auroc(labels, found["score"]))
            if is_first():
                _keep_diagnosis(record, auroc)
            return auroc

        return diagnose

    def _eval(self, config: Config, with_report: bool) -> Any:
        from ppcls_sspcab.evaluation.evaluate import evaluate
        from ppcls_sspcab.evaluation.plots import write_plots
        from ppcls_sspcab.evaluation.report import Report
        from ppcls_sspcab.evaluation.results import write_results

        folder = config.folder.root
        with config.naming_files(), ExitStack() as held:
            detector = load_detector(config.detector_to_use)
            card = detector.card
            held.enter_context(writing(folder))
            samples, run = build_dataset(config).test, config.Global
            if not samples:
                raise DataError(f"{run.data_root}/{run.category}: no test pictures to measure on")
            store = open_store(samples, card.preprocess, run.cache_mb, run.on_error, "reading")
            report = Report(store) if with_report else None
            look = report.look if report else None
            results, embeddings = evaluate(detector, card, store, config, look)
            if not is_first():
                return results
            write_results(results, folder)
            write_plots(results, embeddings, folder)
            if report:
                get_logger().info(f"report in {report.write(results, folder)}")
        print(results.to_markdown())
        return results


def _keep_diagnosis(path: Path, auroc: float) -> None:
    best = auroc
    with suppress(FileNotFoundError):
        best = max(best, json.loads(path.read_text(encoding="utf-8"))["best_image_auroc"])
    note = "picked on the test set: not a result"
    atomic_write(path, json.dumps({"best_image_auroc": best, "note": note}, indent=2) + "\n")


def _map_writer(detector: Detector, folder: str | None, paths: Sequence[str]) -> MapWriter | None:
    if folder is None:
        return None
    if detector.localizer is None:
        raise ConfigError(
            "--save-maps",
            "this detector makes no maps: train it with Localize, such as {name: FeatureGaussian}",
        )
    return MapWriter(folder, paths)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Holds a category's folder for the first of all ranks.

    Raises:
        OutputError: another run holds it.
    """
    with folder_lock(folder) if is_first() else nullcontext():
        yield


def _set_device(device: str) -> None:
    has_gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not has_gpu:
        raise ConfigError(
            "Global.device",
            "this Paddle finds no GPU; install paddlepaddle-gpu, or set cpu or auto",
        )
    paddle.set_device("gpu" if has_gpu and device != "cpu" else "cpu")
