"""``python deploy/infer.py --model DIR pictures...``: an exported model in Paddle Inference.

Needs Paddle, numpy, Pillow and PyYAML; not the packages that train.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    if (root / "ppcls_sspcab").is_dir():  # a checkout; elsewhere the installed package is taken
        sys.path.insert(0, str(root))
    from ppcls_sspcab.runtime.command import main

    sys.exit(main(backend="paddle"))
