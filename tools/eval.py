"""``python tools/eval.py -c file.yaml -o key=value``: the verb ``ppcls-sspcab eval``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_sspcab.cli.main import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("eval"))
