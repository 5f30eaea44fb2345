"""``python -m ppcls_sspcab`` is the console command."""

import sys

from ppcls_sspcab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
