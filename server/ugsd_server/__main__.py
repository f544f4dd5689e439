"""``python -m ugsd_server``."""

import sys

from ugsd_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
