"""A process that replaces another reads the database only once its gate is open."""

import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from synapse.server import HomeServer
from synapse.storage import databases

from ganglion.in_synapse.gate import OPEN, VARIABLE, WAITS, wait_at_gate

POSTGRES = SimpleNamespace(name="master", config={"name": "psycopg2", "args": {}})


class Connection:
    """A connection to a database, which the server may have closed."""

    def __init__(self) -> None:
        self.is_closed = False
        self.engine: Any = None
        self.log: list[str] = []

    def rollback(self) -> None:
        self.log.append("rollback")

    def cursor(self, **_: Any) -> "Connection":
        return self

    def execute(self, sql: str) -> None:
        if self.is_closed:
            raise OSError("the connection is closed")
        self.log.append(sql)

    def close(self) -> None:
        pass


class Start:
    """A start of Synapse in a thread, and what it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.made: list[Connection] = []
        self.used: Any = None
        monkeypatch.setattr(HomeServer, "setup", self._set_up)
        monkeypatch.setattr(databases, "make_conn", self._make)
        self.gate, theirs = socket.socketpair()
        environment = {VARIABLE: str(theirs.detach())}
        wait_at_gate(environment)
        assert environment == {}
        config = SimpleNamespace(database=SimpleNamespace(databases=[POSTGRES]))
        self._server: Any = SimpleNamespace(config=config, hostname="here")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.gate.recv(10) == WAITS
        assert self.done == []

    def goes_on(self, message: bytes) -> None:
        """Send a message through the gate, and wait for the end."""
        with self.gate:
            self.gate.sendall(message)
        self._thread.join()

    def _run(self) -> None:
        setup: Any = HomeServer.setup
        try:
            setup(self._server)
        except SystemExit:
            self.done.append("ended")

    def _set_up(self, *_: object) -> None:
        self.done.append("set up")
        make: Any = databases.make_conn
        self.used = make(db_config=POSTGRES, engine="Synapse's")

    def _make(self, **_: object) -> Connection:
        self.made.append(Connection())
        return self.made[-1]


def test_it_sets_up_after_the_gate_with_the_connection_from_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = Start(monkeypatch)
    (made,) = start.made
    start.goes_on(OPEN)
    assert (start.done, start.used, made.engine) == (["set up"], made, "Synapse's")
    # No transaction is open, whose view would be that of the time before the gate.
    assert made.log == ["rollback", "SELECT 1", "rollback"]
    assert databases.make_conn == start._make


def test_a_connection_that_was_closed_meanwhile_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = Start(monkeypatch)
    start.made[0].is_closed = True
    start.goes_on(OPEN)
    assert (len(start.made), start.used) == (2, start.made[1])


def test_it_ends_if_the_supervisor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(monkeypatch)
    start.goes_on(b"")
    assert (start.done, start.used) == (["ended"], None)


def test_a_process_without_a_gate_does_not_wait() -> None:
    before = HomeServer.setup
    wait_at_gate({})
    assert HomeServer.setup is before
