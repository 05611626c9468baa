"""``python -m crafts``: the same as the command ``crafts``."""

import sys

from crafts.cli import main

if __name__ == "__main__":
    sys.exit(main())
