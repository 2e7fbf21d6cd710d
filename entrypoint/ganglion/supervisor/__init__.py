"""supervisord, running in our own process, that starts each program once what it needs is ready."""

import contextlib

from supervisor.medusa import asyncore_25 as asyncore

from ganglion.supervisor.daemon import Daemon, Options
from ganglion.supervisor.start_times import Timeline


def supervise(
    configuration: str,
    notify_socket: str,
    timeline: Timeline,
    *,
    prefork: bool,
    control_socket: str | None = None,
) -> int:
    """Run every program of a supervisord.conf until told to stop by SIGTERM, SIGINT or SIGQUIT.

    With `prefork`, Synapse is imported here and its processes are forked from us. The `timeline`
    has the stages before. At `control_socket`, which only a server for tests has, processes are
    ended and started on demand.

    Returns the exit status: 0 when told to stop, 1 when a program could not be kept up.
    """
    options = Options(notify_socket, prefork=prefork, control_socket=control_socket)
    options.realize(["--configuration", configuration, "--nodaemon"])
    options.first = True
    options.test = False
    with contextlib.suppress(asyncore.ExitNow):
        Daemon(options, timeline).main()
    options.close_httpservers()
    options.close_logger()
    return options.exit_status
