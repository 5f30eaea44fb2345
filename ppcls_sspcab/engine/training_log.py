"""The training log: averages since the last line, PaddleClas's log line, CSV and VisualDL."""

from __future__ import annotations

import csv
import time
from typing import Any

from ppcls_sspcab.config.schema import GlobalSection
from ppcls_sspcab.paths import RunFolder
from ppcls_sspcab.utils.files import atomic_write, naming_output
from ppcls_sspcab.utils.logger import get_logger


class TrainingLog:
    """Collects the figures of each step and writes a line every ``print_batch_step`` steps.

    Time spent outside of steps (validation, checkpoints) counts neither in ``batch_cost`` nor in
    ``ips``.

    Args:
        folder: where ``train.csv``, and with ``run.use_visualdl`` the VisualDL scalars, go.
        run: length of the run, and steps between two lines.
        done: steps done before, when training is resumed: an existing ``train.csv`` keeps its
            rows up to there, and loses those of steps that are run again.
    """

    def __init__(self, folder: RunFolder, run: GlobalSection, done: int) -> None:
        self._run = run
        self._sums: dict[str, float] = {}
        self._images = 0
        self._count = 0
        self._csv_path = folder.train_csv
        self._keep_rows(done)
        self._visualdl: Any = None
        if run.use_visualdl:
            from visualdl import LogWriter

            self._visualdl = LogWriter(logdir=str(folder.visualdl))

    def add(self, step: int, lr: float, figures: dict[str, float], images: int) -> None:
        """Takes one finished step.

        Args:
            step: number of the step, from 0.
            lr: its learning rate.
            figures: losses, accuracy, ``reader_cost`` and ``batch_cost`` in seconds.
            images: network inputs in the step, all views counted.
        """
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._images += images
        self._count += 1
        last_of_epoch = (step + 1) % self._run.iter_per_epoch == 0
        if (step + 1) % self._run.print_batch_step == 0 or last_of_epoch or step == 0:
            self._write(step, lr)

    def close(self) -> None:
        """Ends the VisualDL file."""
        if self._visualdl is not None:
            self._visualdl.close()

    def _write(self, step: int, lr: float) -> None:
        means = {name: total / self._count for name, total in self._sums.items()}
        seconds = self._sums["batch_cost"]
        row: dict[str, Any] = {
            "epoch": step // self._run.iter_per_epoch + 1,
            "step": step + 1,
            "lr": lr,
            **means,
            "ips": self._images / seconds,
        }
        self._say(row, means)
        self._append_csv(row)
        if self._visualdl is not None:
            for name in row.keys() - {"epoch", "step"}:
                self._visualdl.add_scalar(f"train/{name}", row[name], step + 1)
        self._sums, self._images, self._count = {}, 0, 0

    def _say(self, row: dict[str, Any], means: dict[str, float]) -> None:
        """Logs PaddleClas's line, and a short one for the console."""
        step, epochs, per_epoch = row["step"], self._run.epochs, self._run.iter_per_epoch
        total = epochs * per_epoch
        eta = duration((total - step) * means["batch_cost"])
        figures = ", ".join(
            f"{name}: {value:.5f}" + (" s" if name.endswith("_cost") else "")
            for name, value in means.items()
        )
        get_logger().info(
            f"[Train][Epoch {row['epoch']}/{epochs}]"
            f"[Iter: {(step - 1) % per_epoch + 1}/{per_epoch}] "
            f"lr: {row['lr']:.6f}, {figures}, ips: {row['ips']:.2f} images/s, eta: {eta}",
            extra={
                "short": f"[Train][{step}/{total}] loss {means['loss']:.4g}, "
                f"acc {means['accuracy']:.3f}, ips {row['ips']:.0f}, eta {eta}"
            },
        )

    def _append_csv(self, row: dict[str, Any]) -> None:
        new = not self._csv_path.exists()
        with (
            naming_output(self._csv_path),
            self._csv_path.open("a", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def _keep_rows(self, done: int) -> None:
        """Leaves the whole rows of the first ``done`` steps: a kill may have cut the last one."""
        if not self._csv_path.exists():
            return
        kept = []
        if done:
            text = self._csv_path.read_text(encoding="utf-8", errors="replace")
            header, *rows = [line for line in text.splitlines(True) if line.endswith("\n")] or [""]
            columns = header.split(",")
            for row in rows:
                cells = row.split(",")
                if len(cells) == len(columns) and cells[1].isdigit() and int(cells[1]) <= done:
                    kept.append(row)
        if kept:
            atomic_write(self._csv_path, header + "".join(kept))
        else:
            with naming_output(self._csv_path):
                self._csv_path.unlink()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, with the days before them where there are any: 22d 08:11:09."""
    days, rest = divmod(round(seconds), 24 * 3600)
    clock = time.strftime("%H:%M:%S", time.gmtime(rest))
    return f"{days}d {clock}" if days else clock
