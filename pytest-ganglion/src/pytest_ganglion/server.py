"""Servers for tests: a child process, or one that already runs."""

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
# Longer than lifeline.py waits, and than Docker needs to remove a container.
STOP_WITHIN = lifeline.STOP_WITHIN + 20.0
# Messages of nginx and of Docker's proxy about a port that is taken.
PORT_TAKEN = re.compile(r"address already in use|port is already allocated", re.IGNORECASE)
# Lines shown of a server that did not become ready.
LAST_LINES = 40


class Server(Protocol):
    """A server that runs or has run."""

    # Its address for clients, the address of its controls, and its name for this machine.
    url: str
    control_url: str
    host: str

    def ended(self) -> str:
        """Return how it ended; empty while it runs."""

    def log(self, since: int = 0) -> str:
        """Return its log since a mark; empty if it is unknown."""

    def mark(self) -> int:
        """Return the length of its log, in bytes."""

    def stop(self) -> None:
        """Stop it, and remove everything it leaves behind."""


@dataclass(slots=True, kw_only=True)
class Running:
    """A server that was already running. It outlives the tests, and its log is not available."""

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
    """A child process behind a lifeline: it never outlives pytest, however pytest ends."""

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
    """Run a command behind a lifeline, with its output in a file.

    After its end the commands of `cleaning` run and the directories are removed.
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
    """End a process of spawn(), and wait for its end."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_ready(server: Server, within: float) -> None:
    """Wait at most `within` seconds until a server and its controls answer.

    Raises NoServer if it ends, is not in test mode, or does not answer in time.
    """
    deadline = time.monotonic() + within
    while (missing := _missing(server)) is not None:
        if how := server.ended():
            raise _death(how, server.log())
        if time.monotonic() > deadline:
            raise NoServer(
                f"the server is not ready after {within:.0f} s: {missing}",
                fix="look for the cause in its log, or raise --ganglion-start-within",
                log=tail(server.log(), LAST_LINES),
            )
        time.sleep(BETWEEN_LOOKS)


def _missing(server: Server) -> str | None:
    """Return the error of the first part that does not answer; None if all do.

    Raises NoServer if it never will.
    """
    try:
        call("GET", f"{server.url}/_matrix/client/versions")
        call("POST", f"{server.control_url}/test/barrier", {})
    except Unreachable as error:
        return str(error)
    except Refused as refused:
        if refused.status in (403, 404, 405):
            raise NoServer(
                str(refused),
                fix="run the server in test mode (GANGLION_TEST_MODE=yes), and name its control"
                " port (CONTROL_PORT, 9469) with --ganglion-control, by an IP address or by a name"
                " in CONTROL_HOSTS",
            ) from None
        return str(refused)
    return None


def _death(how: str, log: str) -> NoServer:
    last = tail(log, LAST_LINES)
    if PORT_TAKEN.search(log):
        return PortTaken(
            f"{how}: another program has taken its port",
            fix="run the tests again",
            log=last,
        )
    return NoServer(how, fix="look for the cause in its log", log=last)


def tail(text: str, lines: int) -> str:
    """Return the last lines of a text, after the number of lines left out."""
    every = text.splitlines()
    if len(every) <= lines:
        return "\n".join(every)
    return "\n".join([f"… {len(every) - lines} lines before", *every[len(every) - lines :]])
