"""The servers of a session: one for each configuration, reset before it is handed out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pytest_ganglion import docker, native
from pytest_ganglion.configuration import Configuration, Options, Wanted
from pytest_ganglion.errors import GanglionError, NoServer, PortTaken
from pytest_ganglion.http import call
from pytest_ganglion.server import Running, Server, wait_ready

CONTROL_PORT = 9469
# Starts of one server. Another program may take its port in between; hardly three times.
ATTEMPTS = 3

Start = Callable[[Configuration], Server]


@dataclass(slots=True)
class Entry:
    """A server, and whether a test has used it since its last reset."""

    server: Server
    used: bool = False


@dataclass(slots=True)
class Servers:
    """The servers by their configurations. `start` starts one; it need not be ready."""

    start: Start
    start_within: float
    entries: dict[Configuration, Entry] = field(default_factory=dict)
    # Failed starts, so that other tests with the same configuration fail at once.
    failures: dict[Configuration, NoServer] = field(default_factory=dict)
    # The durations of starts and resets, in seconds; why a server was replaced.
    starts: list[float] = field(default_factory=list)
    resets: list[float] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    def give(self, wanted: Wanted) -> Server:
        """Return a running server; clean, unless the test wants it without a reset.

        It counts as used from now on, because a test's own client may change it unseen. Raises
        NoServer.
        """
        entry = self.entries.get(wanted.configuration)
        if entry is not None and (reason := self._unfit(entry, reset=wanted.reset)):
            # A test has brought it down. The next test gets a new one.
            self.replaced.append(reason)
            del self.entries[wanted.configuration]
            entry.server.stop()
            entry = None
        if entry is None:
            entry = self.entries[wanted.configuration] = Entry(self._started(wanted.configuration))
        entry.used = True
        return entry.server

    def _unfit(self, entry: Entry, *, reset: bool) -> str:
        """Reset a server if needed. Return why it cannot be used again; empty if it can."""
        server = entry.server
        if server.ended() or not (reset and entry.used):
            return server.ended()
        began = time.monotonic()
        try:
            self.reset(server)
        except GanglionError as error:
            if isinstance(server, Running):
                raise NoServer(
                    f"it cannot be reset: {error}",
                    fix="look for the cause in its log, and start it again",
                ) from error
            return server.ended() or f"it could not be reset: {error}"
        self.resets.append(time.monotonic() - began)
        return ""

    def reset(self, server: Server) -> None:
        """Reset a server. Raises GanglionError."""
        call("POST", f"{server.control_url}/test/reset", {})

    def _started(self, configuration: Configuration) -> Server:
        if configuration in self.failures:
            raise self.failures[configuration]
        began = time.monotonic()
        try:
            server = self._attempt(configuration, ATTEMPTS)
        except NoServer as failure:
            self.failures[configuration] = failure
            raise
        self.starts.append(time.monotonic() - began)
        return server

    def _attempt(self, configuration: Configuration, attempts: int) -> Server:
        server = self.start(configuration)
        try:
            wait_ready(server, self.start_within)
        except BaseException as error:
            server.stop()
            if isinstance(error, PortTaken) and attempts > 1:
                return self._attempt(configuration, attempts - 1)
            raise
        return server

    def stop(self) -> None:
        """Stop all of them."""
        while self.entries:
            self.entries.popitem()[1].server.stop()

    def summary(self) -> str:
        """Return a line with the number and duration of starts and resets; empty if none."""
        if not self.starts:
            return ""
        words = [f"{len(self.starts)} started in {sum(self.starts):.1f} s"]
        if self.resets:
            mean = sum(self.resets) / len(self.resets)
            words.append(f"{len(self.resets)} resets of {mean:.2f} s each")
        return "; ".join([*words, *(f"REPLACED, because {reason}" for reason in self.replaced)])


def starter(options: Options, directory: Path, name: str, environ: Mapping[str, str]) -> Start:
    """Return the function that starts a server of this session, by its options.

    Logs are files in `directory` whose names begin with `name`.
    """
    launch = docker.start if options.how == "docker" else native.start
    count = 0

    def start(configuration: Configuration) -> Server:
        nonlocal count
        count += 1
        log_path = directory / f"{name}-{count}.log"
        log_path.touch()
        return launch(configuration, options, log_path, environ)

    def join(configuration: Configuration) -> Server:
        asked = Configuration(workers=options.workers)
        if configuration != asked:
            raise pytest.UsageError(
                f"a test needs a server with {configuration}, but the one at {options.how} is"
                " fixed: run such tests with --ganglion=docker or native, or name its workers with"
                " --ganglion-workers"
            )
        return Running(url=options.how, control_url=options.control or _beside(options.how))

    return join if options.remote else start


def _beside(url: str) -> str:
    """Return the URL of the default control port on the host of a URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"http://{f'[{host}]' if ':' in host else host}:{CONTROL_PORT}"
