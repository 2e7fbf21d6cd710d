"""Readiness: does every process of a running server answer?"""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ganglion.control.client import TIMEOUT, read_secret, request
from ganglion.errors import ConfigError
from ganglion.programs.postgres import external
from ganglion.programs.redis import client_arguments
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """One process. `problem` says why it is not ready, and is None if it is."""

    name: str
    problem: str | None


def readiness(settings: Settings, topology: Topology) -> tuple[Readiness, ...]:
    """Ask every process for its health, one after the other."""
    return tuple(_readiness(settings, topology))


def _readiness(settings: Settings, topology: Topology) -> Iterator[Readiness]:
    if settings.sqlite is None:
        yield Readiness(name="postgres", problem=_ask_postgres(settings))
    yield Readiness(name="redis", problem=_ask_redis(settings))
    for process in topology.processes:
        yield Readiness(name=process.name, problem=_ask_health(process.http))
    if settings.test_mode:
        yield Readiness(name="control", problem=_ask_control(settings))
    # Through nginx to main: the whole path of a request.
    problem = _ask_nginx(settings.reachable_at, settings.http_port)
    yield Readiness(name="nginx", problem=problem)


def _ask_health(address: Address) -> str | None:
    try:
        status, _ = request(address, "GET", "/health")
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer at {address}: {error}"
    return None if status == 200 else f"answers {status} at {address}"


def _ask_control(settings: Settings) -> str | None:
    path = settings.paths.control_socket
    try:
        # The status does not matter: any response shows that it listens.
        request(Address(path=path), "GET", "/test/")
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer at {path}: {error}"
    return None


def _ask_nginx(host: str, port: int) -> str | None:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer at port {port}: {error}"
    finally:
        connection.close()
    return None if status == 200 else f"answers {status} at port {port}"


def _ask_postgres(settings: Settings) -> str | None:
    try:
        where: dict[str, Any] = {
            **external.arguments(settings),
            "host": settings.postgres_host or settings.paths.postgres_sockets,
            "connect_timeout": int(TIMEOUT),
        }
        # The file has the password even where this process lacks the variable.
        where.pop("password", None)
        where.setdefault("passfile", settings.paths.pgpass)
        connection = psycopg2.connect(**where)
    except psycopg2.Error as error:
        return f"does not answer: {str(error).strip().splitlines()[-1]}"
    connection.close()
    return None


def _ask_redis(settings: Settings) -> str | None:
    try:
        password: str | None = read_secret(settings, "redis_password")
    except ConfigError:
        password = None
    where = client_arguments(settings)
    # Without retries: redis-py's default waits 3 s and more for a server that is down.
    once = Retry(NoBackoff(), 0)
    try:
        with redis.Redis(password=password, socket_timeout=TIMEOUT, retry=once, **where) as server:
            server.ping()
    except redis.RedisError as error:
        return f"does not answer: {error}"
    return None
