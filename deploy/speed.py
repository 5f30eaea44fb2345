"""``python deploy/speed.py --model DIR --detector FILE``: latency, throughput, memory."""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    if (root / "ppcls_sspcab").is_dir():  # a checkout; elsewhere the installed package is taken
        sys.path.insert(0, str(root))
    from ppcls_sspcab.runtime.speed import main

    sys.exit(main())
