"""Questions to a running server: is every process ready, what state is it in; and a new user."""

import hashlib
import hmac
import http.client
import json
import socket
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import redis
from supervisor.xmlrpc import SupervisorTransport

from ganglion.errors import ConfigError, Problem
from ganglion.settings.secrets import PLACEHOLDER
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address, Topology

# How long one process may take to answer, seconds. /health itself takes milliseconds.
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """One process and, where it is not ready, why."""

    name: str
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process as supervisord sees it. `uptime` is in seconds, 0 where it does not run."""

    name: str
    state: str
    pid: int
    uptime: int
    description: str


class _Connection(http.client.HTTPConnection):
    """HTTP to a listener of ours, on a unix socket or on loopback."""

    def __init__(self, address: Address, timeout: float) -> None:
        super().__init__("127.0.0.1", address.port, timeout=timeout)
        self._path = address.path

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(
    address: Address,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    timeout: float = TIMEOUT,
) -> tuple[int, str]:
    """The status and the text of one answer. Raises OSError or HTTPException."""
    connection = _Connection(address, timeout)
    try:
        connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def readiness(settings: Settings, topology: Topology) -> tuple[Readiness, ...]:
    """Ask every process whether it answers."""
    return tuple(_readiness(settings, topology))


def _readiness(settings: Settings, topology: Topology) -> Iterator[Readiness]:
    if settings.sqlite is None:
        yield Readiness(name="postgres", problem=_ask_postgres(settings))
    yield Readiness(name="redis", problem=_ask_redis(settings))
    for process in topology.processes:
        yield Readiness(name=process.name, problem=_ask_health(process.http))
    if settings.test_mode:
        yield Readiness(name="control", problem=_ask_control(settings))
    # Through nginx, to main: the whole way of a request.
    host = "127.0.0.1" if settings.bind_address in ("*", "0.0.0.0") else settings.bind_address  # noqa: S104
    yield Readiness(name="nginx", problem=_ask_nginx(host, settings.http_port))


def _ask_health(address: Address) -> str | None:
    try:
        status, _ = request(address, "GET", "/health")
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer at {address}: {error}"
    return None if status == 200 else f"answers {status} at {address}"


def _ask_control(settings: Settings) -> str | None:
    path = settings.paths.control_socket
    try:
        # Whatever it has to say to this, it is there.
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
        connection = psycopg2.connect(
            host=settings.postgres_host or settings.paths.postgres_sockets,
            port=settings.postgres_port,
            dbname=settings.postgres_db,
            user=settings.postgres_user,
            passfile=settings.paths.pgpass,
            connect_timeout=int(TIMEOUT),
        )
    except psycopg2.Error as error:
        return f"does not answer: {str(error).strip().splitlines()[-1]}"
    connection.close()
    return None


def _ask_redis(settings: Settings) -> str | None:
    try:
        password: str | None = _secret(settings, "redis_password")
    except ConfigError:
        password = None
    unix = {"unix_socket_path": settings.paths.redis_socket}
    tcp = {"host": settings.redis_host, "port": settings.redis_port, "ssl": settings.redis_tls}
    where: dict[str, Any] = unix if settings.embedded_redis else tcp
    try:
        redis.Redis(password=password, socket_timeout=TIMEOUT, **where).ping()
    except redis.RedisError as error:
        return f"does not answer: {error}"
    return None


def status(settings: Settings) -> tuple[ProcessStatus, ...]:
    """Every process as supervisord sees it. Raises ConfigError where no server runs."""
    path = settings.paths.supervisor_socket
    server = xmlrpc.client.ServerProxy(
        "http://127.0.0.1", transport=SupervisorTransport("", "", f"unix://{path}")
    )
    try:
        found: Any = server.supervisor.getAllProcessInfo()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise not_running(settings, f"{path}: {reason}") from error
    return tuple(
        ProcessStatus(
            name=info["name"],
            state=info["statename"],
            pid=info["pid"],
            uptime=max(0, info["now"] - info["start"]) if info["pid"] else 0,
            description=info["spawnerr"],
        )
        for info in found
    )


def register_user(
    settings: Settings, topology: Topology, name: str, password: str, *, admin: bool
) -> str:
    """Make a user with the registration shared secret. Returns the user's ID.

    https://element-hq.github.io/synapse/latest/admin_api/register_api.html

    Raises ConfigError when no server runs, or it refuses.
    """
    path = "/_synapse/admin/v1/register"
    secret = _secret(settings, "registration_shared_secret")
    try:
        _, answer = request(topology.main.http, "GET", path)
        nonce = json.loads(answer)["nonce"]
        parts = (nonce, name, password, "admin" if admin else "notadmin")
        mac = hmac.new(secret.encode(), "\x00".join(parts).encode(), hashlib.sha1)
        body = {
            "nonce": nonce,
            "username": name,
            "password": password,
            "admin": admin,
            "mac": mac.hexdigest(),
        }
        code, answer = request(topology.main.http, "POST", path, body)
    except (OSError, http.client.HTTPException) as error:
        raise not_running(settings, str(error)) from error
    result = json.loads(answer)
    if code != 200:
        raise ConfigError(
            [
                Problem(
                    variable="NAME",
                    value=name,
                    message=f"cannot be registered: {result.get('error', answer)}",
                    hint="choose another name"
                    if result.get("errcode") == "M_USER_IN_USE"
                    else "see the log of main; if your homeserver.yaml sets"
                    " registration_shared_secret, set SYNAPSE_REGISTRATION_SHARED_SECRET to it",
                )
            ]
        )
    return str(result["user_id"])


def _secret(settings: Settings, name: str) -> str:
    try:
        path = Path(settings.paths.secret(name))
        return path.read_text(encoding="utf-8").strip() or PLACEHOLDER
    except OSError as error:
        raise not_running(settings, f"{error.filename}: {error.strerror}") from error


def not_running(settings: Settings, reason: str) -> ConfigError:
    return ConfigError(
        [
            Problem(
                variable="GANGLION_RUN",
                value=settings.run,
                message=f"no server answers here: {reason}",
                hint="start one with `ganglion run`, or name the directory of the one that runs",
            )
        ]
    )
