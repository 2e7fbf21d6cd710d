"""Log the lists of writers that a process works with, as a digest.

Processes that work with different lists corrupt the database. The log then proves, after a change
of the layout, that no two of them were alive at once.
"""

import hashlib
import json
import sys
from typing import Any

from synapse.server import HomeServer


def prepare() -> None:
    """Have the process write one line when it is built from its configuration."""
    setup: Any = HomeServer.setup

    def and_say(hs: Any) -> None:
        sys.stderr.write(f"writers {digest(hs.config.worker)}\n")
        setup(hs)

    server: Any = HomeServer
    server.setup = and_say


def digest(worker: Any) -> str:
    """Return 12 hexadecimal digits, the same for the same writers of all streams.

    `worker` is Synapse's WorkerConfig.
    """
    writers = worker.writers
    lists = {name: list(getattr(writers, name)) for name in sorted(vars_of(writers))}
    return hashlib.sha256(json.dumps(lists).encode()).hexdigest()[:12]


def vars_of(writers: Any) -> list[str]:
    """Return the streams of Synapse's WriterLocations."""
    return [field.name for field in type(writers).__attrs_attrs__]
