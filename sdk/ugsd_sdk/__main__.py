"""``python -m ugsd_sdk``: the ``ugsd`` command."""

import sys

from ugsd_sdk.cli import main

if __name__ == "__main__":
    sys.exit(main())
