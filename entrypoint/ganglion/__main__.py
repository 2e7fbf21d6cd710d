"""The program. Only here is the environment read and the exit status set."""

import os
import sys

from ganglion.machine import jemalloc

if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        # Before the other imports: it may start this process again, and they would run twice.
        jemalloc.ensure(os.environ)
    from ganglion.cli.main import main

    sys.exit(main(sys.argv[1:], os.environ))
