"""``python deploy/benchmark.py --model DIR --detector FILE``: latency, throughput, memory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_sspcab.runtime.speed import main

if __name__ == "__main__":
    sys.exit(main())
