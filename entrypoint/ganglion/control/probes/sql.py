"""Statements that read in PostgreSQL, each within a limit of time."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from ganglion.control.probes import database
from ganglion.settings.variables import Settings


def rows(
    settings: Settings, statements: Sequence[str], timeout: float
) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each statement, all from one read-only transaction.

    Waits for `timeout` seconds in all, and has the server end a statement that takes longer.
    Raises psycopg2.Error.
    """
    until = time.monotonic() + timeout
    with contextlib.closing(database.connect(settings)) as connection:
        database.wait(connection, until)
        cursor = connection.cursor()
        limit = max(1, round(1000 * timeout))
        cursor.execute(f"BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}")
        database.wait(connection, until)
        found = []
        for statement in statements:
            cursor.execute(statement)
            database.wait(connection, until)
            found.append(cursor.fetchall())
        return found
