"""PostgreSQL's own client programs: how they reach a database, and what they say."""

import contextlib
import os
import re
import resource
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Self

from ganglion.machine import children, installed, postgres_versions
from ganglion.machine.unix_accounts import numbers
from ganglion.settings.variables import Settings

# Between the values of a row, which contain neither.
SEPARATOR = "\x1f"
# In bytes: the end of what a program says, as an error shows it.
SHOWN = 2000
# The text of one query's answer, in bytes.
LARGEST_ANSWER = 1024**2


class Failed(Exception):
    """A program of PostgreSQL has failed. The text is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """How the client programs in the directory `programs` reach one database.

    `dsn` is libpq's connection string, without a password. The programs run as `account`, or as
    this process's own for None, with `environment` alone. They read `password` from a file in
    memory, because their environment could be seen.
    """

    programs: str
    dsn: str
    account: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    password: str | None = None

    def start(
        self,
        command: Sequence[str],
        memory: int | None = None,
        **streams: Any,  # noqa: ANN401 - Popen's
    ) -> "Running":
        """Start a program, such as ("pg_dump", "-Fc"). It ends when this process ends.

        `memory` is how many bytes it may allocate.
        """
        return Running(self, command, memory, streams)

    def query(self, statement: str) -> list[list[str]]:
        """Return the rows of a query, as text. NULL is empty. Raises Failed."""
        options = ("-X", "-q", "-A", "-t", "-F", SEPARATOR, "-v", "ON_ERROR_STOP=1")
        command = ("psql", *options, "-d", self.dsn, "-c", statement)
        running = self.start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with running:
            answer = running.stdout.read(LARGEST_ANSWER).decode("utf-8", "replace")
        return [line.split(SEPARATOR) for line in answer.splitlines()]

    def version(self) -> int:
        """Return the major version of the programs. Raises Failed."""
        running = self.start(("pg_dump", "--version"), stdout=subprocess.PIPE)
        with running:
            said = running.stdout.read(SHOWN).decode("utf-8", "replace")
        found = re.search(r"\) (\d+)", said)
        if found is None:
            raise Failed(f"pg_dump has no version: {said!r}")
        return int(found[1])


class Running:
    """A program at work. As a context it is waited for, and raises Failed if it has failed."""

    def __init__(
        self,
        client: Client,
        command: Sequence[str],
        memory: int | None,
        streams: Mapping[str, Any],
    ) -> None:
        self.name = command[0]
        program = Path(client.programs, self.name)
        passfile = _password_file(client)
        environment = {"LC_ALL": "C", "PATH": client.programs, **client.environment}
        if passfile:
            environment["PGPASSFILE"] = f"/proc/self/fd/{passfile[0]}"
        # In memory. A pipe could fill up, and the program would wait for ever.
        said = os.memfd_create("said", os.MFD_CLOEXEC)
        self._said: IO[bytes] = os.fdopen(said, "w+b")
        try:
            self.process = children.start(
                [str(program), *command[1:]],
                account=client.account,
                prepare=lambda: _prepare(memory),
                stderr=self._said,
                cwd="/",
                env=environment,
                pass_fds=passfile,
                **streams,
            )
        except OSError as error:
            self._said.close()
            raise Failed(f"{program} cannot be started: {error.strerror}") from error
        finally:
            for descriptor in passfile:
                os.close(descriptor)

    @property
    def stdin(self) -> IO[bytes]:
        """The input, if it is a pipe."""
        return _pipe(self.process.stdin)

    @property
    def stdout(self) -> IO[bytes]:
        """The output, if it is a pipe."""
        return _pipe(self.process.stdout)

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the output in pieces of `size` bytes, the last one shorter."""
        while piece := self.stdout.read(size):
            yield piece

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Write the input, as far as the program reads it."""
        stdin = self.stdin
        try:
            for piece in pieces:
                stdin.write(piece)
            stdin.close()
        except BrokenPipeError:
            # Its status and words say why.
            with contextlib.suppress(BrokenPipeError):
                stdin.close()

    def said(self) -> str:
        """Return the end of its standard error."""
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - SHOWN))
        return self._said.read().decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Forget what a program said that has ended."""
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self.process.kill()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            status = self.process.wait()
            if kind is None and status:
                raise Failed(f"{self.name} failed: {self.said() or f'status {status}'}")
        finally:
            self._said.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("it is not a pipe")
    return stream


def _password_file(client: Client) -> list[int]:
    """Return the descriptor of a file with the password, in memory; none without a password."""
    if client.password is None:
        return []
    descriptor = os.memfd_create("password", os.MFD_CLOEXEC)
    # libpq ignores one that others can read.
    os.fchmod(descriptor, 0o600)
    if client.account is not None:
        os.fchown(descriptor, *numbers(client.account))
    escaped = client.password.replace("\\", "\\\\").replace(":", "\\:")
    os.write(descriptor, f"*:*:*:*:{escaped}\n".encode())
    return [descriptor]


def _prepare(memory: int | None) -> None:
    os.nice(10)
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def newest_programs() -> str | None:
    """Return the directory of the newest client programs that are installed."""
    found = [
        (int(path.parent.name), str(path))
        for path in postgres_versions.POSTGRES.glob("*/bin")
        if path.parent.name.isdigit() and (path / "pg_dump").exists()
    ]
    if found:
        return max(found)[1]
    path = installed.program("pg_dump")
    return None if path is None else str(Path(path).parent)


def of_server(settings: Settings, programs: str, account: str | None) -> Client:
    """Return the client of the database that the settings name, as Synapse's role.

    The embedded server must run. `account` is Synapse's.
    """
    # psycopg2 is imported only where it is used here.
    from psycopg2.extensions import make_dsn  # noqa: PLC0415

    from ganglion.programs.postgres import external  # noqa: PLC0415

    password = None
    if settings.embedded_postgres:
        arguments: dict[str, Any] = {
            "host": settings.paths.postgres_sockets,
            "dbname": settings.postgres_db,
            "user": settings.postgres_user,
            "passfile": settings.paths.pgpass,
            # A server process that waits for a lock notices that its client was killed.
            "options": "-c client_connection_check_interval=1s",
        }
    else:
        arguments = external.arguments(settings)
        password = arguments.pop("password", None)
    return Client(programs=programs, dsn=make_dsn(**arguments), account=account, password=password)
