"""The mark of test mode in an external database: a table that a test server makes.

Its data directory may be new at each start, while the database stays. So the database itself says
whether its data may be deleted: data/mode_of_data.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganglion.errors import Problem

if TYPE_CHECKING:
    # The control application imports this without a need for it.
    import psycopg2.extensions

# A reset keeps it: control/test/databases.py.
TABLE = "ganglion_test_mode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a start finds the database.

    `test` is the mode of the start. `known` says that the data directory records the database as a
    test server's, and `switched` that the operator wants its mode to change. `refusal` is the
    problem with data of the other mode.
    """

    test: bool
    known: bool
    switched: bool
    refusal: Problem


def problems(connection: "psycopg2.extensions.connection", mode: Mode) -> Iterator[Problem]:
    """Yield the refusal if the database holds data of the other mode."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT to_regclass('schema_version') IS NOT NULL, to_regclass('{TABLE}') IS NOT NULL"
        )
        is_filled, is_marked = cursor.fetchone() or (False, False)
    of_tests = is_marked or mode.known
    if is_filled and of_tests != mode.test and not mode.switched:
        yield mode.refusal


def write(connection: "psycopg2.extensions.connection", mode: Mode) -> None:
    """Mark the database as a test server's, or as one that is not."""
    with connection, connection.cursor() as cursor:
        if mode.test:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} ()")
        else:
            cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
