"""Readiness sees each fault of a real server, and sees that it is gone."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis

from ganglion.control.health import readiness
from ganglion.plan import read_settings, running_topology
from ganglion.programs.redis import client_arguments
from ganglion.settings.variables import Settings
from tests.certificates import Authority
from tests.harness import Server, wait_until
from tests.processes import descendants

READER, SYNC = "client_reader1", "synchrotron1"


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    # Without the watchdog, which would end a fault before it is looked at.
    given = {"GANGLION_WATCHDOG": "0", "SYNAPSE_ENABLE_METRICS": "yes"}
    with Server("client_reader, synchrotron", given) as found:
        certificate, key = authority.issue(found.root)
        found.environment |= {
            "SYNAPSE_TLS_CERT": str(certificate),
            "SYNAPSE_TLS_KEY": str(key),
            "SYNAPSE_PUBLIC_BASEURL": found.tls_url,
        }
        found.start()
        yield found
        found.stop()


def problems(server: Server) -> dict[str, str]:
    settings = read_settings(server.environment)
    found = readiness(settings, running_topology(settings))
    return {item.name: item.problem for item in found if item.problem is not None}


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
    yield
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
    yield
    path.chmod(mode)


@contextlib.contextmanager
def read_only(server: Server) -> Iterator[None]:
    with sql(server) as cursor:
        cursor.execute("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
    yield
    with sql(server) as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute("ALTER ROLE CURRENT_USER RESET default_transaction_read_only")


@contextlib.contextmanager
def lost_table(server: Server) -> Iterator[None]:
    with sql(server) as cursor:
        cursor.execute("ALTER TABLE schema_version RENAME TO away")
    yield
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
        yield
        client.config_set("requirepass", before or "")


@contextlib.contextmanager
def other_clock(server: Server) -> Iterator[None]:
    path = Path(settings_of(server).paths.server_json)
    later = time.time() + 3600
    os.utime(path, (later, later))
    yield
    os.utime(path)


@contextlib.contextmanager
def broken_certificate(server: Server) -> Iterator[None]:
    path = Path(server.environment["SYNAPSE_TLS_CERT"])
    before = path.read_bytes()
    path.write_bytes(b"nothing")
    yield
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


@pytest.mark.parametrize(
    ("fault", "part", "said"),
    [
        pytest.param(frozen("main"), "main", "timed out", id="frozen main"),
        pytest.param(frozen(SYNC), SYNC, "timed out", id="frozen worker"),
        pytest.param(frozen("postgres"), "postgres", "no response", id="frozen postgres"),
        pytest.param(frozen("redis"), "redis", "Timeout", id="frozen redis"),
        pytest.param(frozen("nginx"), "nginx", "timed out", id="frozen nginx"),
        pytest.param(lost_socket, READER, "No such file", id="lost socket"),
        pytest.param(closed_to_nginx, "nginx", "does not reach synchrotron", id="unreachable pool"),
        pytest.param(read_only, "postgres", "it is read-only", id="read-only database"),
        pytest.param(lost_table, "postgres", "does not exist", id="lost table"),
        pytest.param(locked_table, "postgres", "no response", id="locked table"),
        pytest.param(lost_password, "postgres", "password", id="lost password"),
        pytest.param(lost_redis_socket, "redis", "No such file", id="lost redis socket"),
        pytest.param(other_redis_password, "redis", "password", id="other redis password"),
        pytest.param(other_clock, "clock", "was set back", id="clock set back"),
        pytest.param(broken_certificate, "certificate", "is faulty", id="broken certificate"),
    ],
)
def test_a_fault_is_seen_and_so_is_its_end(
    server: Server,
    fault: Callable[[Server], AbstractContextManager[None]],
    part: str,
    said: str,
) -> None:
    wait_until("a ready server", lambda: not problems(server))
    with fault(server):
        wait_until("a sign of the fault", lambda: said in problems(server).get(part, ""))
    wait_until("an end of the fault", lambda: not problems(server))


def test_a_process_that_stops_for_a_second_is_no_fault(server: Server) -> None:
    wait_until("a ready server", lambda: not problems(server))
    pid = server.pid(READER)
    os.kill(pid, signal.SIGSTOP)
    waker = os.fork()
    if waker == 0:
        time.sleep(1)
        os.kill(pid, signal.SIGCONT)
        os._exit(0)
    found = problems(server)
    os.waitpid(waker, 0)
    assert found == {}
