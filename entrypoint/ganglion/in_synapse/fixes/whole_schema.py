"""Give a new database all of its tables in one transaction.

Synapse makes them by several scripts, and commits before each. If the first start ends in between,
by a kill or a full disk, some tables are there, no version is recorded, and every further start
fails because the tables exist. With one transaction, the database stays empty until it is whole.
"""

from typing import Any

from synapse.storage import prepare_database
from synapse.storage.engines import PostgresEngine

from ganglion.in_synapse.fixes.source import digest

# It introduced the commit before each script.
REFERENCE = "https://github.com/matrix-org/synapse/pull/13873"
COMMIT = "COMMIT; BEGIN TRANSACTION; "


class Uncommitted:
    """A cursor for a script that belongs to the transaction which is open."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, script: str) -> None:
        """Execute the script without the commit before it."""
        self._cursor.execute(script.removeprefix(COMMIT))


def fits() -> bool:
    """Return whether tables are made, and scripts are executed, as this module knows it."""
    return (
        digest(prepare_database._setup_new_database) == "d2aa2738664d02bd"
        and digest(PostgresEngine.executescript) == "3387c2d0b741b5b1"
        and digest(PostgresEngine.execute_script_file) == "2e9cad7db1f3c079"
    )


def apply() -> None:
    """Leave out the commits while a new database is made."""
    module: Any = prepare_database
    engine_class: Any = PostgresEngine
    set_up, execute = module._setup_new_database, engine_class.executescript

    def set_up_at_once(cur: Any, database_engine: Any, *rest: Any, **named: Any) -> None:
        engine_class.executescript = staticmethod(
            lambda cursor, script: execute(Uncommitted(cursor), script)
        )
        try:
            set_up(cur, database_engine, *rest, **named)
        finally:
            engine_class.executescript = staticmethod(execute)

    module._setup_new_database = set_up_at_once
