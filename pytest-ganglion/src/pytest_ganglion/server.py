"""Servers that tests can be given: a child of ours, or one that already runs."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_ganglion import lifeline
from pytest_ganglion.errors import NoServer, PortTaken, Refused, Unreachable
from pytest_ganglion.http import call

# In seconds.
BETWEEN_LOOKS = 0.05
# Longer than lifeline.py waits, and than Docker takes to remove a container.
STOP_WITHIN = lifeline.STOP_WITHIN + 20.0
# What nginx, and Docker's own proxy, say of a port that was free a moment ago.
PORT_TAKEN = re.compile(r"address already in use|port is already allocated", re.IGNORECASE)
# Lines shown of a server that did not get ready.
LAST_LINES = 40


class Server(Protocol):
    """A server that runs, or did."""

    # Where clients reach it, where its controls are, and by which name it reaches this machine.
    url: str
    control_url: str
    host: str

    def ended(self) -> str:
        """How it ended; empty while it runs."""

    def log(self, since: int = 0) -> str:
        """What it has written since a mark; empty where that cannot be known."""

    def mark(self) -> int:
        """Where its log has got to: a number of bytes."""

    def stop(self) -> None:
        """Stop it, and take away what it leaves behind."""


@dataclass(slots=True, kw_only=True)
class Running:
    """A server that somebody else started: it goes on when the tests end, and keeps its log."""

    url: str
    control_url: str
    host: str = "127.0.0.1"

    def ended(self) -> str:
        """See Server."""
        return ""

    def log(self, since: int = 0) -> str:  # noqa: ARG002 - the protocol's
        """See Server."""
        return ""

    def mark(self) -> int:
        """See Server."""
        return 0

    def stop(self) -> None:
        """See Server."""


@dataclass(slots=True, kw_only=True)
class Child:
    """A server that is our child, behind a lifeline: it does not outlive us, however we end."""

    process: subprocess.Popen[bytes]
    log_path: Path
    url: str
    control_url: str
    host: str
    # Keep its ports from other programs until it has stopped.
    reserved: Sequence[socket.socket] = ()

    def ended(self) -> str:
        """See Server."""
        status = self.process.poll()
        return "" if status is None else f"the server ended with status {status}"

    def log(self, since: int = 0) -> str:
        """See Server."""
        with self.log_path.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def mark(self) -> int:
        """See Server."""
        return self.log_path.stat().st_size

    def stop(self) -> None:
        """See Server."""
        cut(self.process)
        for sock in self.reserved:
            sock.close()


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    log_path: Path,
    *,
    cleaning: Sequence[Sequence[str]] = (),
    directories: Sequence[Path] = (),
) -> subprocess.Popen[bytes]:
    """Run a command behind a lifeline, with its output in a file. When it has ended, the commands
    of `cleaning` are run and the directories removed.
    """
    specification = {
        "command": list(command),
        "finally": [list(words) for words in cleaning],
        "remove": [str(directory) for directory in directories],
    }
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-I", lifeline.__file__, json.dumps(specification)],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def cut(process: subprocess.Popen[bytes]) -> None:
    """End what spawn() made, and wait until it has ended."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_ready(server: Server, within: float) -> None:
    """Wait, in seconds, until a server and its controls answer.

    Raises NoServer where it ends, is none for tests, or does not answer in time.
    """
    deadline = time.monotonic() + within
    while (missing := _missing(server)) is not None:
        if how := server.ended():
            raise _death(how, server.log())
        if time.monotonic() > deadline:
            raise NoServer(
                f"the server is not ready after {within:.0f} s: {missing}",
                fix="see why in its log, or give it longer with --ganglion-start-within",
                log=tail(server.log(), LAST_LINES),
            )
        time.sleep(BETWEEN_LOOKS)


def _missing(server: Server) -> str | None:
    """What of a server does not answer yet. Raises NoServer where it never will."""
    try:
        call("GET", f"{server.url}/_matrix/client/versions")
        call("POST", f"{server.control_url}/test/barrier", {})
    except Unreachable as error:
        return str(error)
    except Refused as refused:
        if refused.status in (403, 404, 405):
            raise NoServer(
                str(refused),
                fix="see that the server runs in test mode (GANGLION_TEST_MODE=yes), and that"
                " --ganglion-control names its control port (CONTROL_PORT, 9469)",
            ) from None
        return str(refused)
    return None


def _death(how: str, log: str) -> NoServer:
    last = tail(log, LAST_LINES)
    if PORT_TAKEN.search(log):
        return PortTaken(
            f"{how}: another program took a port that had been free",
            fix="run the tests again",
            log=last,
        )
    return NoServer(how, fix="see why in its log", log=last)


def tail(text: str, lines: int) -> str:
    """The last lines of a text, and how many there are before them."""
    every = text.splitlines()
    if len(every) <= lines:
        return "\n".join(every)
    return "\n".join([f"… {len(every) - lines} lines before", *every[len(every) - lines :]])
