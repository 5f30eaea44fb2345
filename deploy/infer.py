"""``python deploy/infer.py --model DIR pictures...``: an exported model in Paddle Inference.

Needs Paddle, numpy, Pillow and PyYAML; not the packages that train.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_sspcab.runtime.command import main

if __name__ == "__main__":
    sys.exit(main(backend="paddle"))
