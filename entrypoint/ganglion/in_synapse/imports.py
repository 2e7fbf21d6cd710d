"""Decide which packages a Synapse process can import, besides those of its environment.

All Synapse processes use this: forked ones through ganglion.supervisor.fork, fresh ones through
ganglion.in_synapse.start.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# The environment variable with the directory of the operator's modules. It is set for all programs.
MODULES = "GANGLION_MODULES"
# The environment variable of a Synapse process that is set if the options switch tracing on.
TRACING = "GANGLION_TRACING"
# Synapse imports these wherever they are installed, also without tracing. With what they
# import, they are 69 modules and 3 MB.
TRACERS = ("opentracing", "jaeger_client")


def add_modules(environment: Mapping[str, str]) -> None:
    """Let this process import the operator's modules; do nothing if there are none.

    Appended, so that a package in the directory never replaces one that Synapse depends on. Call
    this only in a process with the rights of Synapse's account.
    """
    directory = environment.get(MODULES)
    if directory and Path(directory).is_dir() and directory not in sys.path:
        sys.path.append(directory)


@contextlib.contextmanager
def absent(*names: str) -> Iterator[None]:
    """Let imports of these packages fail during the body, as where they are not installed."""
    modules: dict[str, Any] = sys.modules
    blocked = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(blocked))
    try:
        yield
    finally:
        for name in blocked:
            del modules[name]
