#!/usr/bin/env python3
"""The command `rvjit`, outside the package: Ctrl-C is heard while that is imported.

It is installed as it is. The script that installers write for an entry point imports `re` first,
which takes a tenth of the start of a short run.
"""

import gc
import sys

# Nothing of what a start makes is garbage, and looking for it takes 1 to 2 ms. `rvjit.cli.run` has
# it looked for again as soon as the guest runs.
gc.disable()
try:
    from rvjit.imports import quicken

    quicken()
    from rvjit.cli import process
except KeyboardInterrupt:
    sys.exit(130)  # rvjit.cli.status.Status.INTERRUPT, which is not there yet
process()
