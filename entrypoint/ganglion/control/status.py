"""The state of every process from the supervisor, and its health from the application."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganglion.control import programs
from ganglion.control.asking import MOST
from ganglion.control.client import not_running, read_secret, request
from ganglion.control.programs import ProgramState
from ganglion.errors import ConfigError
from ganglion.programs.control import TOKEN_NAME
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address

# In seconds. The application answers at once, or after one look at a part that hangs.
HEALTH_TIMEOUT = MOST + 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process. `uptime` is in seconds; `pid` and `uptime` are 0 while it does not run.

    `memory` in bytes and `processor` in seconds include the processes below it. Both are None if
    unknown: control/usage.py. `starts` is None for a row that is no process.
    """

    name: str
    state: str
    pid: int
    uptime: int
    description: str
    memory: int | None = None
    processor: float | None = None
    starts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """All that /health says: one word, all of it in words, and the problem of each part."""

    state: str
    words: str
    problems: Mapping[str, str]


def status(settings: Settings) -> tuple[ProcessStatus, ...]:
    """Ask the supervisor for every process. Raises ConfigError if no server runs."""
    path = settings.paths.states_socket
    try:
        found = programs.ask(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise not_running(settings, f"{path}: {reason}") from error
    return tuple(
        ProcessStatus(
            name=item.name,
            state=item.state,
            pid=item.pid,
            uptime=int(item.age or 0),
            description=_description(item),
            starts=item.starts,
        )
        for item in found.programs.values()
    )


def _description(program: ProgramState) -> str:
    """Return why a program does not run."""
    return program.spawn_error or ("" if program.pid else program.end)


def health(settings: Settings) -> Health | None:
    """Ask the control application, which asks all parts. None if this server has none."""
    if not settings.control_runs:
        return None
    address = Address(path=settings.paths.control_socket)
    try:
        headers = {"Authorization": f"Bearer {read_secret(settings, TOKEN_NAME)}"}
    except ConfigError:
        # It has no token.
        headers = {}
    try:
        _, text = request(address, "GET", "/health", timeout=HEALTH_TIMEOUT, headers=headers)
        found: dict[str, Any] = json.loads(text)
        return Health(state=found["state"], words=found["words"], problems=found["problems"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        problem = f"does not answer at {address}: {error}"
        words = f"unknown: control {problem}"
        return Health(state="unknown", words=words, problems={"control": problem})
