"""`python -m m2v_lib.cli`, for where the `m2v` command is not installed."""

import sys

from m2v_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
