"""`python -m rvjit` is the command `rvjit`."""

import sys

from rvjit.cli import main

if __name__ == "__main__":
    sys.exit(main())
