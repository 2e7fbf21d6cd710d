"""Import Synapse once, in the supervisor, before its processes are forked.

Importing Synapse takes most of a process's start time and most of its memory. Forked processes skip
the first and share the second. The child's side is in `become`.
"""

import gc
import importlib
import logging
import re
import sys
import threading
from typing import Any

from ganglion.in_synapse import fixes
from ganglion.in_synapse.imports import TRACERS, absent
from ganglion.supervisor.fork.synapse_command import APPS, MAIN_APP

# Synapse imports these only when it first needs them, and some process always does. With the preset
# `complement`, nothing else is imported in the seconds after a start.
ALSO = (
    "synapse.replication.tcp.redis",
    "synapse.rest.client.media",
    "synapse.storage.engines.postgres",
    "txredisapi",
)


# Pympler, which Synapse imports, imports NumPy if it can, and NumPy starts a thread for each
# processor. Pympler needs it only to measure arrays, and Synapse's caches hold none.
NUMPY = "numpy"


def preload(*, tracing: bool = False) -> None:
    """Import Synapse into this process; do nothing if that is already done.

    `tracing` says whether the processes report to a tracer, so that Synapse must import one.

    Modules import the Twisted reactor, so one is installed here, but it stays uninitialised: each
    child initialises it after the fork and so has its own descriptors. See become._begin_reactor.

    Raises RuntimeError if an import starts a thread, because a fork would copy the thread's locks
    but not the thread.
    """
    if MAIN_APP in sys.modules:
        return
    from twisted.internet.epollreactor import EPollReactor
    from twisted.internet.main import installReactor

    # All these young objects stay, so a collection would free nothing and disorder the pages.
    gc.disable()
    # Synapse warns that it cannot measure an uninitialised reactor. The child measures its own.
    logging.disable(logging.WARNING)
    try:
        install: Any = installReactor
        install(EPollReactor.__new__(EPollReactor))
        with absent(NUMPY, *(() if tracing else TRACERS)):
            for module in (*APPS, *ALSO):
                importlib.import_module(module)
        _read_yaml_in_c()
        _queue_in_c()
        # Import the fixes and compare them with Synapse's source once, for all children.
        fixes.fitting()
        _compile_patterns()
    finally:
        logging.disable(logging.NOTSET)
    if threading.active_count() != 1:
        raise RuntimeError(f"a thread was started before forking: {threading.enumerate()}")


def _read_yaml_in_c() -> None:
    """Let yaml.safe_load use libyaml, which reads the same documents eight times as fast."""
    import yaml

    fast: Any = yaml
    fast.SafeLoader = yaml.CSafeLoader


def _queue_in_c() -> None:
    """Let Twisted's thread pools use a queue that is written in C.

    Sending one message queues 30 pieces of database work. For each, Python's own queue acquires and
    releases several locks, one of them new. docs/decisions/0014-threads-queue.md
    """
    from queue import SimpleQueue

    from twisted._threads import _pool

    pool: Any = _pool
    pool.Queue = SimpleQueue


def _compile_patterns() -> None:
    """Compile the paths of replication, which each process would do at each start: 8 ms.

    As synapse.replication.http._base.ReplicationEndpoint.register() does. Python's module `re`
    keeps the last 512 patterns.
    """
    from synapse.replication.http import _base

    waiting: list[Any] = [_base.ReplicationEndpoint]
    while waiting:
        endpoint = waiting.pop()
        waiting += endpoint.__subclasses__()
        name = getattr(endpoint, "NAME", None)
        if isinstance(name, str):
            arguments = [*endpoint.PATH_ARGS, *(("txn_id",) if endpoint.CACHE else ())]
            groups = "/".join(f"(?P<{argument}>[^/]+)" for argument in arguments)
            re.compile(f"^/_synapse/replication/{name}/{groups}$")
