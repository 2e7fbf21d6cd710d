"""The state of every program, as the supervisor says it at its states socket."""

import json
import socket
from dataclasses import dataclass
from typing import Any

# In seconds. The supervisor answers in the next turn of its loop.
TIMEOUT = 2.0
LONGEST = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramState:
    """One program: supervisor/states.py says what each value is. Times are in seconds."""

    name: str
    state: str
    ready: bool
    pid: int
    age: float | None
    starts: int
    given_up: bool
    ended: float | None
    end: str
    spawn_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """All programs by name, and the end of each stage of the start, in seconds since it began."""

    programs: dict[str, ProgramState]
    start: dict[str, float]


def ask(path: str) -> States:
    """Ask the supervisor. Raises OSError, and ValueError for another answer."""
    received = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
        while (part := connection.recv(65536)) and len(received) < LONGEST:
            received += part
    found: dict[str, Any] = json.loads(received)
    programs = [ProgramState(**item) for item in found["programs"]]
    return States(programs={item.name: item for item in programs}, start=found["start"])
