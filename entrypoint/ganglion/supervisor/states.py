"""A socket that says the state of every program to each client that connects.

Nothing is read from it, so a client can change nothing. Synapse's account may connect, as which the
control application runs. The answer is one line of JSON, and then the end.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.process import getProcessStateDescription

from ganglion.machine.unix_accounts import numbers
from ganglion.supervisor.private_socket import PrivateSocket
from ganglion.supervisor.program import GatedProcess
from ganglion.supervisor.start_times import Timeline


def states(programs: Mapping[str, GatedProcess], timeline: Timeline, now: float) -> dict[str, Any]:
    """Describe every program; `now` is the time on the supervisor's clock, in seconds.

    `age` is the time since the start of its process, and `ended` since the last end of one, both in
    seconds and null if there is none.
    """
    return {
        "programs": [
            {
                "name": name,
                "state": getProcessStateDescription(program.state),
                "ready": program.ready,
                "pid": program.pid,
                "age": round(now - program.laststart, 3) if program.pid else None,
                "starts": program.starts,
                "given_up": bool(program.pauses) and not program.ready,
                "ended": None if program.ended_at is None else round(now - program.ended_at, 3),
                "end": program.last_end,
                "spawn_error": program.spawnerr or "",
            }
            for name, program in programs.items()
        ],
        "start": {stage: round(end, 3) for stage, end in timeline.ends.items()},
    }


class StatesSocket(PrivateSocket):
    """Answers each connection at once, without waiting for its client."""

    def __init__(
        self,
        path: str,
        account: str | None,
        describe: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listen at `path`, which `account` may use; None for this process's own."""
        super().__init__(path, clock)
        self._describe = describe
        if account is not None and os.geteuid() == 0:
            os.chown(path, *numbers(account))

    def welcome(self, connection: socket.socket) -> None:
        """Answer. The kernel holds the whole text, and a client that is gone needs none."""
        text = json.dumps(self._describe()).encode() + b"\n"
        connection.setblocking(False)
        with connection, contextlib.suppress(OSError):
            connection.sendall(text)
