"""jemalloc, which is loaded when a process starts or not at all.

Imports next to nothing: what is imported before a process is started once more is imported twice.
"""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

LIBRARIES = Path("/usr/lib")
LOADED = "libjemalloc"
# Of one arena threads wait for each other: four made 1.14 times the cheap requests, in the same
# memory. docs/performance.md, "Arenas of the allocator".
SETTINGS = "narenas:4,background_thread:false"


def library() -> str | None:
    """The path of the allocator's library, if it is installed."""
    return next(map(str, sorted(LIBRARIES.glob(f"*/{LOADED}.so.2"))), None)


def ensure(environ: MutableMapping[str, str]) -> None:
    """Start this process once more with jemalloc, which those forked from it then have too."""
    if LOADED in Path("/proc/self/maps").read_text(encoding="utf-8"):
        # Not for other programs than ours.
        environ.pop("LD_PRELOAD", None)
        environ.pop("MALLOC_CONF", None)
        return
    found = library()
    if found is None or environ.get("LD_PRELOAD") == found:
        # There is none, or it cannot be loaded.
        return
    environ["LD_PRELOAD"] = found
    environ.setdefault("MALLOC_CONF", SETTINGS)
    sys.stdout.flush()
    os.execve(sys.executable, sys.orig_argv, dict(environ))  # noqa: S606 - no shell is wanted
