"""Faults of a running server, each a context that injects one and repairs it."""

import contextlib
import datetime as dt
import os
import signal
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg2
import redis
import trustme
from supervisor.xmlrpc import SupervisorTransport

from ganglion.plan import read_settings
from ganglion.programs.redis import client_arguments
from ganglion.settings.variables import Settings
from tests.certificates import Authority
from tests.harness import Server
from tests.processes import descendants

# The layout in which they are injected: with TLS and metrics, and without the watchdog, which would
# end a fault before it is looked at.
WORKERS = "client_reader, synchrotron"
VARIABLES = {"GANGLION_WATCHDOG": "0", "SYNAPSE_ENABLE_METRICS": "yes"}
READER, SYNC = "client_reader1", "synchrotron1"
Fault = Callable[[Server], AbstractContextManager[None]]


def prepare(server: Server, authority: Authority) -> None:
    """Give a server a certificate, before its start."""
    certificate, key = authority.issue(server.root)
    server.environment |= {
        "SYNAPSE_TLS_CERT": str(certificate),
        "SYNAPSE_TLS_KEY": str(key),
        "SYNAPSE_PUBLIC_BASEURL": server.tls_url,
    }


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, the part in which it shows, a piece of the text, and its name."""

    fault: Fault
    part: str
    said: str
    name: str


def frozen(name: str) -> Callable[[Server], AbstractContextManager[None]]:
    @contextlib.contextmanager
    def fault(server: Server) -> Iterator[None]:
        pid = server.pid(name)
        family = (pid, *descendants(pid))
        for each in family:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in reversed(family):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)

    return fault


@contextlib.contextmanager
def away(path: str) -> Iterator[None]:
    """Let a file be missing."""
    elsewhere = Path(path).with_suffix(".away")
    Path(path).rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(path)


def lost_socket(server: Server) -> AbstractContextManager[None]:
    return away(settings_of(server).paths.socket(READER))


def lost_redis_socket(server: Server) -> AbstractContextManager[None]:
    return away(settings_of(server).paths.redis_socket)


@contextlib.contextmanager
def closed_to_nginx(server: Server) -> Iterator[None]:
    """The process itself answers, and the router cannot reach it."""
    path = Path(settings_of(server).paths.socket(SYNC))
    mode = path.stat().st_mode & 0o777
    path.chmod(0)
    # New workers of nginx have no open connections to it.
    os.kill(server.pid("nginx"), signal.SIGHUP)
    try:
        yield
    finally:
        path.chmod(mode)


@contextlib.contextmanager
def read_only(server: Server) -> Iterator[None]:
    with sql(server) as cursor:
        cursor.execute("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
    try:
        yield
    finally:
        with sql(server) as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute("ALTER ROLE CURRENT_USER RESET default_transaction_read_only")


@contextlib.contextmanager
def lost_table(server: Server) -> Iterator[None]:
    with sql(server) as cursor:
        cursor.execute("ALTER TABLE schema_version RENAME TO away")
    try:
        yield
    finally:
        with sql(server) as cursor:
            cursor.execute("ALTER TABLE away RENAME TO schema_version")


@contextlib.contextmanager
def locked_table(server: Server) -> Iterator[None]:
    with sql(server) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE")
        yield


def lost_password(server: Server) -> AbstractContextManager[None]:
    return away(settings_of(server).paths.pgpass)


@contextlib.contextmanager
def other_redis_password(server: Server) -> Iterator[None]:
    with redis_of(server) as client:
        before = client.config_get("requirepass")["requirepass"]
        client.config_set("requirepass", "another")
        try:
            yield
        finally:
            client.config_set("requirepass", before or "")


@contextlib.contextmanager
def other_clock(server: Server) -> Iterator[None]:
    path = Path(settings_of(server).paths.server_json)
    later = time.time() + 3600
    os.utime(path, (later, later))
    try:
        yield
    finally:
        os.utime(path)


@contextlib.contextmanager
def broken_certificate(server: Server) -> Iterator[None]:
    path = Path(server.environment["SYNAPSE_TLS_CERT"])
    before = path.read_bytes()
    path.write_bytes(b"nothing")
    try:
        yield
    finally:
        path.write_bytes(before)


@contextlib.contextmanager
def frozen_supervisor(server: Server) -> Iterator[None]:
    """Its children go on."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def lost_states_socket(server: Server) -> AbstractContextManager[None]:
    return away(settings_of(server).paths.states_socket)


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    """A worker that an administrator has stopped."""
    path = settings_of(server).paths.supervisor_socket
    transport = SupervisorTransport("", "", f"unix://{path}")
    with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as supervisor:
        name = next(
            f"{item['group']}:{item['name']}"
            for item in cast("Any", supervisor.supervisor.getAllProcessInfo())
            if item["name"] == SYNC
        )
        supervisor.supervisor.stopProcess(name)
        try:
            yield
        finally:
            supervisor.supervisor.startProcess(name, False)


@contextlib.contextmanager
def no_connections(server: Server) -> Iterator[None]:
    """PostgreSQL takes no further ones to Synapse's database."""
    with sql(server) as cursor:
        cursor.execute("ALTER DATABASE synapse CONNECTION LIMIT 0")
        try:
            yield
        finally:
            cursor.execute("ALTER DATABASE synapse CONNECTION LIMIT -1")


def lost_postgres_socket(server: Server) -> AbstractContextManager[None]:
    settings = settings_of(server)
    return away(f"{settings.paths.postgres_sockets}/.s.PGSQL.{settings.postgres_port}")


def lost_certificate(server: Server) -> AbstractContextManager[None]:
    return away(server.environment["SYNAPSE_TLS_CERT"])


@contextlib.contextmanager
def expired_certificate(server: Server) -> Iterator[None]:
    path = Path(server.environment["SYNAPSE_TLS_CERT"])
    before = path.read_bytes()
    then = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
    made = trustme.CA().issue_cert("localhost", not_after=then)
    path.write_bytes(made.cert_chain_pems[0].bytes())
    try:
        yield
    finally:
        path.write_bytes(before)


def settings_of(server: Server) -> Settings:
    return read_settings(server.environment)


@contextlib.contextmanager
def sql(server: Server) -> Iterator[Any]:
    settings = settings_of(server)
    connection = psycopg2.connect(
        host=settings.paths.postgres_sockets,
        user=settings.postgres_user,
        dbname=settings.postgres_db,
        passfile=settings.paths.pgpass,
    )
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor


@contextlib.contextmanager
def redis_of(server: Server) -> Iterator["redis.Redis"]:
    settings = settings_of(server)
    password = Path(settings.paths.secret("redis_password")).read_text().strip()
    # One connection, which keeps its rights.
    with redis.Redis(
        password=password, single_connection_client=True, **client_arguments(settings)
    ) as client:
        client.ping()
        yield client


CASES = (
    Case(frozen("main"), "main", "timed out", "frozen main"),
    Case(frozen(SYNC), SYNC, "timed out", "frozen worker"),
    Case(frozen("postgres"), "postgres", "no response", "frozen postgres"),
    Case(frozen("redis"), "redis", "timed out", "frozen redis"),
    Case(frozen("nginx"), "nginx", "timed out", "frozen nginx"),
    Case(lost_socket, READER, "No such file", "lost socket"),
    Case(closed_to_nginx, "nginx", "does not reach synchrotron", "unreachable pool"),
    Case(read_only, "postgres", "it is read-only", "read-only database"),
    Case(lost_table, "postgres", "does not exist", "lost table"),
    Case(locked_table, "postgres", "no response", "locked table"),
    Case(lost_password, "postgres", "password", "lost password"),
    Case(lost_redis_socket, "redis", "No such file", "lost redis socket"),
    Case(other_redis_password, "redis", "password", "other redis password"),
    Case(other_clock, "clock", "was set back", "clock set back"),
    Case(broken_certificate, "certificate", "is faulty", "broken certificate"),
    Case(expired_certificate, "certificate", "expired", "expired certificate"),
    Case(lost_certificate, "certificate", "No such file", "lost certificate"),
    Case(no_connections, "postgres", "too many connections", "no connections left"),
    Case(lost_postgres_socket, "postgres", "No such file", "lost postgres socket"),
    Case(frozen_supervisor, "supervisor", "timed out", "frozen supervisor"),
    Case(lost_states_socket, "supervisor", "No such file", "lost states socket"),
    Case(stopped, SYNC, "is stopped", "stopped worker"),
)
