"""PostgreSQL and Redis servers that are none of Ganglion's own."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg2

from tests.harness import WITHIN, free_port, wait_until

# Characters that wrong quoting in a connection string, a password file or a query would break.
PASSWORD = "it's:a\\pass%word$x"
REDIS_PASSWORD = "another#pass%word"


class Dependency:
    """A server program in the foreground, under its own account if this process is root."""

    def __init__(self, account: str) -> None:
        self.account = account if os.geteuid() == 0 else None
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="ganglion-", dir="/tmp"))
        if self.account:
            shutil.chown(self.directory, self.account, self.account)
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self, *command: str) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, user=self.account, cwd=self.directory, stdout=log, stderr=log
            )

    def stop(self) -> None:
        if self.process is not None:
            # A fast shutdown for PostgreSQL, the ordinary one for Redis.
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=WITHIN)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory)


class Redis(Dependency):
    """A Redis server that asks for a password."""

    def __init__(self) -> None:
        super().__init__("redis")

    def start(self) -> None:
        port, directory = str(self.port), str(self.directory)
        self.launch(
            *("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", directory),
            *("--requirepass", REDIS_PASSWORD, "--save", ""),
        )


class Postgres(Dependency):
    """A PostgreSQL server with the role `synapse`, and usable and unusable databases."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        password_file = self.directory / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        subprocess.run(
            [
                *(f"{self.programs}/initdb", "-D", "cluster", "--no-sync", "--locale=C.UTF-8"),
                *("-U", "postgres", "-A", "scram-sha-256", "--pwfile", "password"),
            ],
            user=self.account,
            cwd=self.directory,
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        self.launch(
            *(f"{self.programs}/postgres", "-D", "cluster", "-p", str(self.port)),
            *(
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                f"unix_socket_directories={self.directory}",
            ),
            *("-c", "fsync=off"),
        )

    def execute(self, *statements: str) -> None:
        """Run SQL as the administrator."""
        with self.connected("postgres") as cursor:
            for statement in statements:
                cursor.execute(statement)

    @contextlib.contextmanager
    def connected(self, database: str) -> Iterator[Any]:
        """Yield a cursor of the administrator, once the server answers."""

        def connect() -> Any:
            with contextlib.suppress(psycopg2.OperationalError):
                return psycopg2.connect(
                    host="127.0.0.1",
                    port=self.port,
                    user="postgres",
                    dbname=database,
                    password=PASSWORD,
                )
            return None

        connection = wait_until("answer of PostgreSQL", connect)
        with contextlib.closing(connection), connection.cursor() as cursor:
            connection.autocommit = True
            yield cursor


def started(closing: ExitStack) -> tuple[Postgres, Redis]:
    """Start both, PostgreSQL with the role and the database `synapse`, until `closing` closes."""
    redis, postgres = Redis(), Postgres()
    closing.callback(redis.remove)
    closing.callback(postgres.remove)
    redis.start()
    postgres.start()
    quoted = PASSWORD.replace("'", "''")
    postgres.execute(
        f"CREATE ROLE synapse LOGIN PASSWORD '{quoted}'",
        "CREATE DATABASE synapse OWNER synapse TEMPLATE template0 ENCODING 'UTF8'"
        " LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    return postgres, redis
