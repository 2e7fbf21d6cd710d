"""Compare the rows of an SQLite database with those of the PostgreSQL database made from it."""

import contextlib
import sqlite3
from pathlib import Path

from ganglion.programs.postgres.client import Client
from ganglion.programs.postgres.cluster import name

# Not copied: IGNORED_TABLES in synapse/_scripts/synapse_port_db.py, and full-text indexes, whose
# shape differs. The program's own, and those that Synapse fills at each start.
NOT_COPIED = (
    "applied_",
    "background_updates",
    "event_search",
    "port_from_sqlite3",
    "schema_",
    "sqlite_",
    "stream_positions",
    "ui_auth_sessions",
    "user_directory",
    "users_in_public_rooms",
    "users_who_share_private_rooms",
    "worker_read_write_locks",
)


def differences(copy: Path, client: Client) -> tuple[int, list[str]]:
    """Return the number of tables that both have, and a line for each with another count.

    Raises client.Failed.
    """
    names = "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
    rows = client.query(f"{names} WHERE relkind IN ('r', 'p') AND nspname = current_schema()")
    there = {row[0] for row in rows}
    wrong: list[str] = []
    number = 0
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in sorted(tables.fetchall()):
            if table.startswith(NOT_COPIED):
                continue
            (before,) = connection.execute(f"SELECT count(*) FROM {name(table)}").fetchone()  # noqa: S608 - the catalog's
            if table not in there:
                if before:
                    wrong.append(f"{table}: {before} rows in SQLite, no such table in PostgreSQL")
                continue
            number += 1
            after = int(client.query(f"SELECT count(*) FROM {name(table)}")[0][0])  # noqa: S608
            if after != before:
                wrong.append(f"{table}: {before} rows in SQLite, {after} in PostgreSQL")
    return number, wrong
