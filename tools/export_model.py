"""``python tools/export_model.py -c file.yaml -o key=value``: the verb ``ppcls-sspcab export``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    if (root / "ppcls_sspcab").is_dir():  # a checkout; elsewhere the installed package is taken
        sys.path.insert(0, str(root))
    from ppcls_sspcab.cli.main import run_tool

    sys.exit(run_tool("export"))
