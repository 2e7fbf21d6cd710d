"""A database with Synapse's tables for the servers of a test run, as the image brings one.

To make the tables takes up to a third of the processor time of a first start, and few tests are
about it. They are made once for all processes of a run, and most servers start from that database,
in the way of the product in its image.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg2

from ganglion.errors import ConfigError
from ganglion.plan import read_settings
from tests import prepared_start
from tests.harness import Server, wait_until

STARTER = (sys.executable, "-P", prepared_start.__file__)


class Prepared:
    """The database in a directory of the run. The first server that needs it makes it."""

    def __init__(self, directory: Path) -> None:
        self.database = directory / "database"

    def command(self, server: Server) -> tuple[str, ...]:
        """Return the program that starts a server from the database."""
        self._make()
        found = self.database
        if _is_in_test_mode(server):
            # Test mode uses the database where it is, and only once.
            found = server.root / "prepared" / "database"
            if not found.parent.exists():
                found.parent.mkdir()
                subprocess.run(["cp", "-a", str(self.database), str(found)], check=True)
        return (*STARTER, str(found))

    def _make(self) -> None:
        with (self.database.parent / "lock").open("a") as lock:
            # One process makes it, and the others wait for that.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.database.exists():
                return
            with Server("none", fresh=True) as server:
                server.start()
                wait_until("end of the background updates", lambda: _is_up_to_date(server))
                server.stop()
                shutil.move(server.data / "postgres", self.database)


def can_be_used() -> bool:
    """Return whether a server of this account starts from such a database.

    It may not belong to an account with a name: ganglion/machine/installed.py.
    """
    return os.geteuid() == 0


def _is_in_test_mode(server: Server) -> bool:
    with contextlib.suppress(ConfigError):
        return read_settings(server.environment).test_mode
    # It will not start.
    return False


def _is_up_to_date(server: Server) -> bool:
    """Return whether all background updates of a new database are done."""
    password = (server.data / "secrets" / "postgres_password").read_text().strip()
    connection = psycopg2.connect(
        host=f"{server.run}/postgres", user="synapse", dbname="synapse", password=password
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM background_updates")
        found: tuple[int] | None = cursor.fetchone()
    return found == (0,)
