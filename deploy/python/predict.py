"""``python deploy/python/predict.py --backend onnx --model DIR pictures...``

Needs numpy, Pillow, PyYAML and the backend's runtime: Paddle or ONNX Runtime.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_sspcab.runtime.command import main

if __name__ == "__main__":
    sys.exit(main())
