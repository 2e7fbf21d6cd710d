"""Turn a forked child of the supervisor into a Synapse process.

The child behaves as if `python -m synapse.app…` had just started it and Synapse were imported. The
parent's side is in `preload`.
"""

import gc
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from setproctitle import setproctitle

from ganglion.in_synapse import fixes, gate, listening
from ganglion.in_synapse.imports import add_modules
from ganglion.supervisor.fork.shared_config import SharedConfig
from ganglion.supervisor.fork.synapse_command import MAIN_APP, arguments_of, config_files


# Signals whose handlers the child resets: all that supervisord handles.
def become(
    app: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    shared: SharedConfig | None,
) -> NoReturn:
    """Run a Synapse application in this process, then end the process.

    `app` is the module that `command` starts. Call this in a child of the process that ran
    preload(), after closing descriptors and dropping privileges. The exit status is that of the
    application; 1 if it raised an exception, which is printed to stderr.
    """
    status = 1
    try:
        _begin(app, command, environment)
        _give_config(app, command, shared)
        _fix_synapse(app, environment)
        gate.wait_at_gate(os.environ)
        status = _run(app)
    except BaseException:  # noqa: BLE001 - the parent's frames are above; nothing may reach them
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _begin(app: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Replace what the fork copied: environment, title and reactor."""
    # The supervisor's may write JSON; this process writes to the supervisor.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [sys.modules[app].__file__ or app, *arguments_of(command)]
    add_modules(environment)
    listening.take_over(os.environ)
    setproctitle(f"{environment.get('SUPERVISOR_PROCESS_NAME', app)}: {app}")
    base: Any = importlib.import_module("synapse.app._base")
    # Synapse read this from the parent's environment when the module was imported.
    base.sdnotify_sockaddr = environment.get("NOTIFY_SOCKET")
    gc.enable()
    if app != MAIN_APP:
        _skip_sequence_checks()
    _begin_reactor(asyncio_wanted=bool(environment.get("SYNAPSE_ASYNC_IO_REACTOR")))
    from ganglion.in_synapse import (
        chosen_metrics,
        draining,
        memory_metrics,
        replication_tls,
        request_id,
        shedding,
        view,
    )

    chosen_metrics.prepare()
    memory_metrics.prepare()
    draining.prepare()
    view.prepare()
    shedding.prepare(environment)
    request_id.prepare(environment)
    replication_tls.prepare(environment)


def _skip_sequence_checks() -> None:
    """Skip the check that each database sequence fits its table; main has done it.

    A worker starts when main is ready. The check is 96 statements, half of what a worker asks
    PostgreSQL until it is ready, on a connection that has no table cached yet.
    """
    from synapse.storage.util.sequence import PostgresSequenceGenerator

    checked: Any = PostgresSequenceGenerator
    checked.check_consistency = lambda *_, **__: None


def _begin_reactor(*, asyncio_wanted: bool) -> None:
    """Initialise the reactor object that every module has imported."""
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
    """Let the application use the configuration that the parent read, where it fits."""
    config = None if shared is None else shared.for_process(config_files(command))
    if config is not None:
        main: Any = sys.modules[app]
        loader = "load_or_generate_config" if app == MAIN_APP else "load_config"
        setattr(main, loader, lambda _arguments: config)


def _fix_synapse(app: str, environment: Mapping[str, str]) -> None:
    """Mend Synapse's faults. Main reports it for all processes, which do the same."""
    outcome = fixes.apply(environment.get(fixes.VARIABLE))
    if app == MAIN_APP:
        sys.stderr.write(f"{outcome.line()}\n")


def _run(app: str) -> int:
    """Run the application until it ends. Return its exit status."""
    try:
        sys.modules[app].main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0
