"""Load jemalloc, which is only possible when a process starts.

This module imports very little: the process is restarted, and everything imported before that is
imported twice.
"""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

LIBRARIES = Path("/usr/lib")
LOADED = "libjemalloc"
# Threads wait for each other if they share an arena: four arenas served 1.14 times as many cheap
# requests in the same memory. docs/performance.md, "Arenas of the allocator".
SETTINGS = "narenas:4,background_thread:false"


def library() -> str | None:
    """Return the path of jemalloc's library, or None if it is not installed."""
    return next(map(str, sorted(LIBRARIES.glob(f"*/{LOADED}.so.2"))), None)


def ensure(environ: MutableMapping[str, str]) -> None:
    """Restart this process with jemalloc loaded, so that processes forked from it have it too."""
    if LOADED in Path("/proc/self/maps").read_text(encoding="utf-8"):
        # Other programs must not inherit these.
        environ.pop("LD_PRELOAD", None)
        environ.pop("MALLOC_CONF", None)
        return
    found = library()
    if found is None or environ.get("LD_PRELOAD") == found:
        # It is not installed, or could not be loaded.
        return
    environ["LD_PRELOAD"] = found
    environ.setdefault("MALLOC_CONF", SETTINGS)
    sys.stdout.flush()
    os.execve(sys.executable, sys.orig_argv, dict(environ))  # noqa: S606 - without a shell on purpose
