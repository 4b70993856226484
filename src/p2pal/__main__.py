"""``python -m p2pal``: the same as the ``p2pal`` command."""

import sys

from p2pal.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
