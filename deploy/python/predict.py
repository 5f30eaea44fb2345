"""``python deploy/python/predict.py --backend onnx --model DIR pictures...``

Needs numpy, Pillow, PyYAML and the backend's runtime: Paddle or ONNX Runtime.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    if (root / "ppcls_sspcab").is_dir():  # a checkout; elsewhere the installed package is taken
        sys.path.insert(0, str(root))
    from ppcls_sspcab.runtime.command import main

    sys.exit(main())
