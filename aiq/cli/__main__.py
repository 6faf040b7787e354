"""`python -m aiq.cli`: the same as `aiq`, where the script is not on the path."""

import sys

from aiq.cli import main

if __name__ == "__main__":
    sys.exit(main())
