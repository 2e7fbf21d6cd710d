"""Synapse, imported once in supervisord, for every process to be forked from.

Importing Synapse takes most of the time a process needs to start, and most of its memory. Here the
parent imports it, and a child goes on from there as if it had just done so itself.
"""

import gc
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from setproctitle import setproctitle

from ganglion.supervisor.fork.shared_config import SharedConfig, config_files

APPS = ("synapse.app.homeserver", "synapse.app.generic_worker")
# What Synapse imports only when it comes to need it, and some process always comes to need: the
# preset complement imports nothing else in the seconds after its start.
ALSO = (
    "synapse.replication.tcp.redis",
    "synapse.rest.client.media",
    "synapse.storage.engines.postgres",
    "txredisapi",
)
SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def preload() -> None:
    """Import Synapse into this process, so that forks of it share it.

    The reactor that modules import here is an object without contents: what it opens it must open
    in the child, see _begin_reactor. Nothing here may start a thread or keep a descriptor. When it
    is done already, it does nothing.
    """
    if APPS[0] in sys.modules:
        return
    from twisted.internet.epollreactor import EPollReactor
    from twisted.internet.main import installReactor

    # No collection while importing: the young objects all stay, and pages keep their order.
    gc.disable()
    # Synapse warns that an empty reactor cannot be measured; the child's is.
    logging.disable(logging.WARNING)
    try:
        install: Any = installReactor
        install(EPollReactor.__new__(EPollReactor))
        for module in (*APPS, *ALSO):
            importlib.import_module(module)
        _read_yaml_in_c()
        _queue_in_c()
    finally:
        logging.disable(logging.NOTSET)
    if threading.active_count() != 1:
        raise RuntimeError(f"a thread was started before forking: {threading.enumerate()}")


def _read_yaml_in_c() -> None:
    """Have yaml.safe_load use libyaml, which reads the same documents eight times as fast."""
    import yaml

    fast: Any = yaml
    fast.SafeLoader = yaml.CSafeLoader


def _queue_in_c() -> None:
    """Have the threads that ask the database take their work from a queue that is written in C.

    A message takes 30 such errands. For each, the queue that Twisted would use takes and leaves
    several locks in Python, one of them made anew. docs/decisions/0014-threads-queue.md
    """
    from queue import SimpleQueue

    from twisted._threads import _pool

    pool: Any = _pool
    pool.Queue = SimpleQueue


def app_of(command: Sequence[str]) -> str | None:
    """The application of Synapse's that a command starts, or None if it starts something else."""
    if list(command[1:2]) == ["-m"] and command[2] in APPS:
        return command[2]
    return None


def become(
    app: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    shared: SharedConfig | None,
) -> NoReturn:
    """Go on as a process that was just started with `command`, in a child of preload()'s process.

    Descriptors are closed and privileges dropped already. Ends the process.
    """
    status = 1
    try:
        _begin(app, command, environment)
        _give_config(app, command, shared)
        status = _run(app)
    except BaseException:  # noqa: BLE001 - nothing may go up into the parent's code
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _begin(app: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Make everything the child's own that a fork leaves the parent's."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [sys.modules[app].__file__ or app, *command[3:]]
    setproctitle(f"{environment.get('SUPERVISOR_PROCESS_NAME', app)}: {app}")
    base: Any = importlib.import_module("synapse.app._base")
    # Read out of the environment when it was imported.
    base.sdnotify_sockaddr = environment.get("NOTIFY_SOCKET")
    gc.enable()
    if app != APPS[0]:
        _leave_sequences_to_main()
    _begin_reactor(asyncio_wanted=bool(environment.get("SYNAPSE_ASYNC_IO_REACTOR")))


def _leave_sequences_to_main() -> None:
    """Do not look again whether each sequence of the database fits its table.

    A worker starts when main is ready, and main has looked at all of them: 96 statements, half of
    what a worker asks PostgreSQL until it is ready, in a connection that knows no table yet.
    """
    from synapse.storage.util.sequence import PostgresSequenceGenerator

    checked: Any = PostgresSequenceGenerator
    checked.check_consistency = lambda *_, **__: None


def _begin_reactor(*, asyncio_wanted: bool) -> None:
    """Make the empty reactor, which every module has already imported, a real one."""
    from synapse.metrics._reactor_metrics import install_reactor_metrics
    from twisted.internet import reactor

    empty: Any = reactor
    if asyncio_wanted:
        import asyncio

        from twisted.internet.asyncioreactor import AsyncioSelectorReactor

        empty.__class__ = AsyncioSelectorReactor
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        empty.__init__(loop)
    else:
        empty.__init__()
    install_reactor_metrics(empty)


def _give_config(app: str, command: Sequence[str], shared: SharedConfig | None) -> None:
    """Have the application take the configuration that is there, rather than read it."""
    config = None if shared is None else shared.for_process(config_files(command))
    if config is not None:
        main: Any = sys.modules[app]
        loader = "load_or_generate_config" if app == APPS[0] else "load_config"
        setattr(main, loader, lambda _arguments: config)


def _run(app: str) -> int:
    """Run the application until it ends. Returns the exit status."""
    try:
        sys.modules[app].main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0
