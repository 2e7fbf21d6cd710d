"""The state of every process, as supervisord reports it."""

import http.client
import xmlrpc.client
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from ganglion.control.client import not_running
from ganglion.settings.variables import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process. `uptime` is in seconds; `pid` and `uptime` are 0 while it does not run.

    `memory` in bytes and `processor` in seconds include the processes below it. Both are None if
    unknown: control/usage.py.
    """

    name: str
    state: str
    pid: int
    uptime: int
    description: str
    memory: int | None = None
    processor: float | None = None


def status(settings: Settings) -> tuple[ProcessStatus, ...]:
    """Ask supervisord for every process. Raises ConfigError if no server runs."""
    path = settings.paths.supervisor_socket
    transport = SupervisorTransport("", "", f"unix://{path}")
    try:
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            found: Any = server.supervisor.getAllProcessInfo()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise not_running(settings, f"{path}: {reason}") from error
    return tuple(
        ProcessStatus(
            name=info["name"],
            state=info["statename"],
            pid=info["pid"],
            uptime=max(0, info["now"] - info["start"]) if info["pid"] else 0,
            description=info["spawnerr"],
        )
        for info in found
    )
