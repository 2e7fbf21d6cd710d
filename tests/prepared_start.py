"""The program, as `python -m ganglion` runs it, with a prepared database as the image has one.

Its arguments are the directory of that database, and those of the program.
"""

import os
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    from ganglion.machine import jemalloc

    # It starts this process again, with the same arguments. Before the other imports, as there.
    jemalloc.ensure(os.environ)  # noqa: TID251 - the program's
    from ganglion.machine import installed

    installed.PREPARED = Path(sys.argv.pop(1))
    runpy.run_module("ganglion", run_name="__main__", alter_sys=True)
