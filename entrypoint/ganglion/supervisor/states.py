"""A socket that says the state of every program to each client that connects.

Nothing is read from it, so a client can change nothing. Synapse's account may connect, as which the
control application runs. The answer is one line of JSON, and then the end.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from supervisor.process import getProcessStateDescription

from ganglion.machine.unix_accounts import numbers
from ganglion.supervisor.dispatcher import Reader
from ganglion.supervisor.private_socket import listener
from ganglion.supervisor.program import GatedProcess
from ganglion.supervisor.start_times import Timeline

# Connections that are answered at once.
AT_ONCE = 8


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


class StatesSocket(Reader):
    """Answers each connection at once, without waiting for its client."""

    def __init__(self, path: str, account: str | None, describe: Callable[[], object]) -> None:
        """Listen at `path`, which `account` may use; None for this process's own."""
        self.path = Path(path)
        self._describe = describe
        self._socket = listener(path)
        if account is not None and os.geteuid() == 0:
            os.chown(path, *numbers(account))

    def fileno(self) -> int:
        return self._socket.fileno()

    def handle_read_event(self) -> None:
        """Answer waiting connections, some in each turn of the loop."""
        text: bytes | None = None
        with contextlib.suppress(BlockingIOError):
            for _ in range(AT_ONCE):
                connection, _ = self._socket.accept()
                text = text or json.dumps(self._describe()).encode() + b"\n"
                connection.setblocking(False)
                # The kernel holds the whole text. A client that is gone needs none.
                with connection, contextlib.suppress(OSError):
                    connection.sendall(text)

    def close(self) -> None:
        self._socket.close()
