"""Takes a figure out of a training log, one value a line.

``python test_tipc/extract_loss.py -i train.log -o losses.txt [-v loss]``
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.program import run_program


def extract(log: Path, name: str = "loss") -> list[float]:
    """The values of a figure in lines ``[Train][Epoch 1/2][Iter: 1/3] ..., loss: 1.44126, ..``.

    Args:
        log: the log's file.
        name: ``loss``, ``CELoss``, ``ips`` or another name in those lines.

    Raises:
        UserError: the log cannot be read, or no line holds the figure.
    """
    figure = re.compile(rf"(?<![\w.]){re.escape(name)}: (\S+?)(?:,|\s|$)")
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{log}: cannot be read: {error.strerror}") from error
    found = [figure.search(line) for line in lines if "[Train][Epoch " in line]
    values = [float(match[1]) for match in found if match]
    if not values:
        raise UserError(f"{log}: no training line holds the figure {name!r}")
    return values


def main() -> int:
    parser = argparse.ArgumentParser(description="Take a figure out of a training log.")
    parser.add_argument("-i", "--input", required=True, type=Path, help="the log")
    parser.add_argument("-o", "--output", type=Path, help="default: standard output")
    parser.add_argument("-v", "--value", default="loss", help="name of the figure; default loss")
    options = parser.parse_args()
    values = extract(options.input, options.value)
    text = "".join(f"{value}\n" for value in values)
    if options.output:
        atomic_write(options.output, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
