"""Have a Synapse process that replaces another wait until that one has ended.

It waits before it reads the database: a process that has read which positions of streams are its
own believes that it is their only writer. All that comes before is done while the other one works.
"""

import contextlib
import importlib
import socket
from collections.abc import MutableMapping
from typing import Any

# The descriptor of the gate, a socket of two ends. The supervisor sets it for such a process.
VARIABLE = "GANGLION_GATE"
# The process sends the first once it waits, and goes on after the second.
WAITS, OPEN = b"w", b"o"
POSTGRES = "psycopg2"


def wait_at_gate(environment: MutableMapping[str, str]) -> None:
    """Have the process wait at its gate, if it has one. Call it before the application runs."""
    number = environment.pop(VARIABLE, None)
    if number is None:
        return
    gate = socket.socket(fileno=int(number))
    server: Any = importlib.import_module("synapse.server")
    setup = server.HomeServer.setup

    def wait_and_set_up(self: Any) -> None:
        connections = Connections(self)
        with gate:
            gate.sendall(WAITS)
            if gate.recv(1) != OPEN:
                raise SystemExit("the supervisor needs this process no longer")
        with connections.given():
            setup(self)

    server.HomeServer.setup = wait_and_set_up


class Connections:
    """Connections to the databases of a homeserver, opened before they are needed.

    They have asked for nothing when they are given, so they see the database as it is then.
    """

    def __init__(self, home_server: Any) -> None:
        self._databases: Any = importlib.import_module("synapse.storage.databases")
        self._make = self._databases.make_conn
        self._opened: dict[str, Any] = {}
        for config in home_server.config.database.databases:
            if config.config["name"] == POSTGRES:
                # If this fails, Synapse tries it again, and reports the failure in its own words.
                with contextlib.suppress(Exception):
                    self._opened[config.name] = self._make(
                        db_config=config,
                        engine=self._databases.create_engine(config.config),
                        default_txn_name="startup",
                        server_name=home_server.hostname,
                    )

    @contextlib.contextmanager
    def given(self) -> Any:
        """Have Synapse get them meanwhile, those that still work, instead of new ones."""
        self._databases.make_conn = self._give
        try:
            yield
        finally:
            self._databases.make_conn = self._make

    def _give(self, **named: Any) -> Any:
        opened = self._opened.pop(named["db_config"].name, None)
        if opened is None or not _works(opened):
            return self._make(**named)
        opened.engine = named["engine"]
        return opened


def _works(connection: Any) -> bool:
    """Return whether the server has not closed a connection. No transaction is open afterwards."""
    try:
        # The first statement fixes what a transaction sees.
        connection.rollback()
        with contextlib.closing(connection.cursor(txn_name="gate")) as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except Exception:  # noqa: BLE001 - whatever it is, a new connection is made
        return False
    return True
