"""Synapse's database as a dump, and a dump as a database.

Everything runs as Synapse's role, which owns its tables: neither way needs an administrator.
"""

import os
import select
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ganglion.programs.postgres.client import Client, Failed, Running
from ganglion.programs.postgres.cluster import name as quoted

# In bytes. A dump is read and written in such pieces.
PIECE = 8 * 1024**2
# A restored server would hand out a second time the keys of this table, which other devices have
# used already. Devices upload new ones when the server has none.
# https://element-hq.github.io/synapse/latest/usage/administration/backups.html
WITHOUT_DATA = ("e2e_one_time_keys_json",)
# In bytes. How much memory pg_restore may have: an archive of others could ask for any amount.
RESTORE_MEMORY = 2 * 1024**3
# How many times its size a dump may become. zlib cannot exceed about 1030; text has 3 to 20.
MOST_GROWTH = 200
GROWTH_ALLOWED = 64 * 1024**2
# Files of the media store that a backup leaves out have rows, for which Synapse would answer 404:
# without a row it asks the other server again. Rows of quarantined media stay: they say so.
WITHOUT_REMOTE_MEDIA = (
    "DELETE FROM remote_media_cache_thumbnails",
    "DELETE FROM remote_media_cache WHERE quarantined_by IS NULL",
    # Previews of URLs, which Synapse itself deletes after some days.
    (
        "DELETE FROM local_media_repository_thumbnails WHERE media_id IN"
        " (SELECT media_id FROM local_media_repository WHERE url_cache IS NOT NULL)"
    ),
    "DELETE FROM local_media_repository_url_cache",
    "DELETE FROM local_media_repository WHERE url_cache IS NOT NULL AND quarantined_by IS NULL",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A database that Synapse has used: its schema's versions, the server's, its size in bytes.

    `elsewhere` are further schemas, and `others` further tables, which are not Synapse's.
    """

    schema: int
    compatible: int
    postgres: int
    size: int
    elsewhere: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def facts(client: Client) -> Facts:
    """Ask the server. Raises Failed, also if the database has none of Synapse's tables."""
    if not is_filled(client):
        raise Failed("the database has none of Synapse's tables")
    ((schema, compatible, postgres, size),) = client.query(
        "SELECT (SELECT max(version) FROM schema_version),"
        " (SELECT coalesce(max(compat_version), 0) FROM schema_compat_version),"
        " current_setting('server_version_num')::int / 10000,"
        " pg_database_size(current_database())"
    )
    elsewhere = client.query(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN"
        " ('information_schema', (SELECT n.nspname FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = c.relnamespace WHERE c.oid = to_regclass('schema_version')))"
    )
    # Tables that Synapse's role may not read cannot be Synapse's.
    others = client.query(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'S')"
        " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        " AND NOT has_table_privilege(c.oid, 'SELECT')"
    )
    return Facts(
        schema=int(schema),
        compatible=int(compatible),
        postgres=int(postgres),
        size=int(size),
        elsewhere=tuple(row[0] for row in elsewhere),
        others=tuple(row[0] for row in others),
    )


def is_filled(client: Client) -> bool:
    """Return whether the database has Synapse's tables. Raises Failed."""
    return client.query("SELECT to_regclass('schema_version') IS NOT NULL") == [["t"]]


def is_empty(client: Client) -> bool:
    """Return whether the database has no table at all. Raises Failed."""
    return client.query(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    ) == [["0"]]


def start(client: Client, found: Facts) -> Running:
    """Start a dump of the database as it is now, in pg_dump's custom format, on a pipe.

    Little compression: it costs the least processor time, which requests need meanwhile.
    """
    command = [
        *("pg_dump", "--format=custom", "--compress=1", "--lock-wait-timeout=60s"),
        *("--no-publications", "--no-subscriptions", "--extension=plpgsql"),
        *(f"--exclude-table-data={table}" for table in WITHOUT_DATA),
        *(f"--exclude-schema={quoted(schema)}" for schema in found.elsewhere),
        *(f"--exclude-table={table}" for table in found.others),
        f"--dbname={client.dsn}",
    ]
    return client.start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def restore(client: Client, pieces: Iterable[bytes]) -> None:
    """Fill an empty database from a dump, all of it or nothing. Raises Failed."""
    command = (
        *("pg_restore", "--exit-on-error", "--single-transaction", "--no-owner"),
        *("--no-privileges", f"--dbname={client.dsn}"),
    )
    running = client.start(command, RESTORE_MEMORY, stdin=subprocess.PIPE)
    with running:
        running.feed(pieces)


def prune(client: Client, *, remote_media: bool) -> None:
    """Remove rows of files that the backup left out, and gather statistics. Raises Failed."""
    if not remote_media:
        client.query("BEGIN;" + ";".join(WITHOUT_REMOTE_MEDIA) + ";COMMIT")
    client.query("ANALYZE")


def measure(client: Client, pieces: Iterable[bytes], most: Callable[[int], int]) -> int:
    """Read a whole dump without a server. Returns its size as text, in bytes.

    `most` says how large it may become after so many bytes of the dump. Raises Failed if it is
    damaged, or becomes larger: it could be made to fill a disk.
    """
    read = 0

    def counted() -> Iterator[bytes]:
        nonlocal read
        for piece in pieces:
            read += len(piece)
            yield piece

    running = client.start(
        ("pg_restore", "--file=-"),
        RESTORE_MEMORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with running:
        return _pump(running, counted(), lambda: most(read))


def growth(read: int) -> int:
    """Return how large the text of a dump may be, after `read` bytes of it."""
    return read * MOST_GROWTH + GROWTH_ALLOWED


def _pump(running: Running, pieces: Iterator[bytes], most: Callable[[], int]) -> int:
    """Write the input and count the output, whichever is possible, in one thread."""
    stdin, stdout = running.stdin, running.stdout
    os.set_blocking(stdin.fileno(), False)
    waiting, written = memoryview(b""), 0
    is_open = True
    while True:
        if is_open and not waiting:
            waiting = memoryview(next(pieces, b""))
            if not waiting:
                stdin.close()
                is_open = False
        writers = [stdin.fileno()] if is_open else []
        readable, writable, _ = select.select([stdout.fileno()], writers, [])
        if writable:
            try:
                waiting = waiting[os.write(stdin.fileno(), waiting[:65536]) :]
            except BrokenPipeError:
                stdin.close()
                is_open = False
        if readable:
            data = os.read(stdout.fileno(), 1024**2)
            if not data:
                return written
            written += len(data)
            if written > most():
                raise Failed(f"the dump becomes more than {MOST_GROWTH} times its size")
