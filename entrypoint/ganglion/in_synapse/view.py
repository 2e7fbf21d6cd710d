"""Log the lists of processes that a process works with, as digests.

Processes that work with different lists corrupt the database, or send and push twice. The log then
proves, after a change of the layout, that no two of them were alive at once.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from synapse.server import HomeServer


def prepare() -> None:
    """Have the process write one line when it is built from its configuration."""
    setup: Any = HomeServer.setup

    def and_say(hs: Any) -> None:
        found = " ".join(f"{name} {digest}" for name, digest in digests(hs.config.worker).items())
        sys.stderr.write(f"lists: {found}\n")
        setup(hs)

    server: Any = HomeServer
    server.setup = and_say


def digests(worker: Any) -> Mapping[str, str]:
    """Return 12 hexadecimal digits for each list, the same for the same processes in it.

    `worker` is Synapse's WorkerConfig. The writers are those of all streams. Only main and the
    senders read the list of federation senders, and only pushers that of pushers.
    """
    writers = worker.writers
    streams = sorted(field.name for field in type(writers).__attrs_attrs__)
    lists = {
        "writers": {name: list(getattr(writers, name)) for name in streams},
        "senders": list(worker.federation_shard_config.instances),
        "pushers": list(worker.pusher_shard_config.instances),
    }
    return {
        name: hashlib.sha256(json.dumps(each).encode()).hexdigest()[:12]
        for name, each in lists.items()
    }
