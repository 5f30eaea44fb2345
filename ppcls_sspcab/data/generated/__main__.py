"""``python -m ppcls_sspcab.data.generated``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ppcls_sspcab.data.generated import CATEGORIES, PARTS, generate_demo
from ppcls_sspcab.errors import UserError, one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ppcls_sspcab.data.generated", description="Writes the demo data set."
    )
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels")
    parser.add_argument("--train", type=int, default=60, help="good pictures to train on")
    parser.add_argument("--test", type=int, default=15, help="good pictures to test on")
    parser.add_argument("--bad", type=int, default=8, help="pictures of each kind of defect")
    parser.add_argument(
        "--categories", default=",".join(CATEGORIES), help=f"of {', '.join(PARTS)}; between commas"
    )
    options = parser.parse_args(arguments)
    categories = options.categories.split(",")
    try:
        generate_demo(
            options.output,
            options.seed,
            size=options.size,
            train=options.train,
            test=options.test,
            bad=options.bad,
            categories=categories,
        )
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"{options.output}: {', '.join(categories)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
