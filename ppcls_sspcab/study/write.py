"""Writing what a study has found so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppcls_sspcab.paths import StudyFolder
from ppcls_sspcab.study.page import to_html
from ppcls_sspcab.study.plan import Run
from ppcls_sspcab.study.rows import collect
from ppcls_sspcab.study.tables import to_csv, to_json, to_markdown
from ppcls_sspcab.utils.files import atomic_write


def write_study(runs: Sequence[Run], folder: StudyFolder, diagnose: bool) -> list[Path]:
    """Writes ``study.{csv,json,md,html}`` and returns their paths.

    Args:
        runs: all that are planned, done or not.
        folder: where the files go.
        diagnose: whether to show the column picked on the test set.
    """
    found = collect(runs)
    texts = {
        folder.csv: to_csv(found, diagnose),
        folder.json: to_json(found, diagnose),
        folder.markdown: to_markdown(found, diagnose),
        folder.page: to_html(found, diagnose),
    }
    for path, text in texts.items():
        atomic_write(path, text)
    return list(texts)
