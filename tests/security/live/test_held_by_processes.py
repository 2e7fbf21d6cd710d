"""Attacks on a whole server that never worked: on secrets, databases, registration, federation."""

import contextlib
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness import Server
from tests.matrix import CLIENT
from tests.processes import descendants
from tests.raw_http import raw_request

GIVEN = {
    "POSTGRES_PASSWORD": secrets.token_hex(16),
    "REDIS_PASSWORD": secrets.token_hex(16),
    "SYNAPSE_FORM_SECRET": secrets.token_hex(16),
    "SYNAPSE_REGISTRATION_SHARED_SECRET": secrets.token_hex(16),
    "SYNAPSE_TURN_SECRET": secrets.token_hex(16),
}
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has programs of several accounts")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server as an operator starts it: without the options that tests need."""
    with Server("client_reader, federation_sender", GIVEN) as made:
        del made.environment["SYNAPSE_ENABLE_REGISTRATION"]
        del made.environment["GANGLION_ADMIN_NETWORKS"]
        made.start()
        yield made


def all_secrets(server: Server) -> set[str]:
    """Every secret: given ones, and those that were made."""
    found = {path.read_text().strip() for path in (server.run / "conf" / "secrets").iterdir()}
    found |= {path.read_text().strip() for path in (server.data / "secrets").iterdir()}
    found |= {text.rpartition(" ")[2].rpartition(":")[2] for text in found}
    return {text for text in found | set(GIVEN.values()) if len(text) >= 16}


def test_no_secret_is_in_arguments_or_the_environment(server: Server) -> None:
    assert server.process is not None
    hidden = all_secrets(server)
    assert set(GIVEN.values()) < hidden
    looked = 0
    for pid in (server.process.pid, *descendants(server.process.pid)):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                text = Path("/proc", str(pid), name).read_bytes().decode("utf-8", "replace")
                looked += 1
                assert not [secret for secret in hidden if secret in text], (pid, name)
    assert looked > 2 * len(server.status())


def test_no_secret_is_in_the_log(server: Server) -> None:
    text = server.log.text()
    assert not [secret for secret in all_secrets(server) if secret in text]


def as_account(account: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, user=account, group="nogroup", extra_groups=[], check=False, text=True,
        capture_output=True, timeout=60, cwd="/",
        env={"PATH": "/usr/bin:/bin", "PGCONNECT_TIMEOUT": "20"},
    )  # fmt: skip


@ROOT
@pytest.mark.parametrize("account", ["nobody", "www-data", "redis"])
def test_postgresql_lets_no_other_account_in(server: Server, account: str) -> None:
    for user in ("synapse", "postgres", account):
        words = ("psql", "-h", str(server.run / "postgres"), "-U", user, "-d", "synapse", "-w")
        refused = as_account(account, *words, "-c", "SELECT 1")
        assert refused.returncode != 0, refused.stdout
    tried = as_account(account, "cat", str(server.data / "postgres" / "PG_VERSION"))
    assert "Permission denied" in tried.stderr


@ROOT
@pytest.mark.parametrize("account", ["nobody", "www-data", "postgres"])
def test_redis_lets_no_other_account_in(server: Server, account: str) -> None:
    path = server.run / "redis" / "redis.sock"
    password = GIVEN["REDIS_PASSWORD"]
    refused = as_account(account, "redis-cli", "-s", str(path), "-a", password, "PING")
    assert "PONG" not in refused.stdout
    assert "Permission denied" in refused.stdout + refused.stderr
    # Synapse's account needs the password too.
    asked = as_account("root", "redis-cli", "-s", str(path), "PING")
    assert "NOAUTH" in asked.stdout


def ports_of(server: Server, process: str) -> list[str]:
    """The TCP ports that a process, or one below it, listens on: lines of /proc/net/tcp."""
    sockets = set()
    for pid in (server.pid(process), *descendants(server.pid(process))):
        with contextlib.suppress(FileNotFoundError):
            for link in Path("/proc", str(pid), "fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    sockets.add(str(link.readlink()))
    tables = (Path("/proc/net", name) for name in ("tcp", "tcp6"))
    lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets]


def test_nginx_alone_listens_on_a_port(server: Server) -> None:
    names = [row["name"] for row in server.status()]
    assert {name for name in names if ports_of(server, name)} == {"nginx"}


def test_registration_is_closed(server: Server) -> None:
    body = b'{"username": "eve", "password": "x", "auth": {"type": "m.login.dummy"}}'
    answer = raw_request(server.http_port, "POST", f"{CLIENT}/register", {}, body)
    assert answer.status == 403
    assert answer.json()["errcode"] == "M_FORBIDDEN"
    guest = raw_request(server.http_port, "POST", f"{CLIENT}/register?kind=guest", {}, b"{}")
    assert guest.status == 403


@pytest.mark.parametrize("path", ["/_synapse/admin/v1/register", "/_synapse/admin/v2/users"])
def test_the_administration_api_is_closed(server: Server, path: str) -> None:
    assert server.get(path).status == 403


@dataclass(slots=True)
class Bait:
    """A listener on loopback that counts its connections."""

    port: int = 0
    met: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def listening(self) -> Iterator["Bait"]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield self

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, address = listener.accept()
                self.met.append(str(address))
                connection.close()


def test_federation_does_not_reach_private_addresses(server: Server) -> None:
    """Anybody can make a server ask for another's keys, by a request that claims its name."""
    with Bait().listening() as bait:
        name = f"127.0.0.1:{bait.port}"
        claim = f'X-Matrix origin="{name}",destination="localhost",key="ed25519:a",sig="c2ln"'
        path = "/_matrix/federation/v1/event/$a"
        answer = raw_request(server.http_port, "GET", path, {"Authorization": claim})
        assert answer.status == 401
        notary = f"/_matrix/key/v2/query/{name}"
        assert raw_request(server.http_port, "GET", notary).status in (200, 502, 503)
        # It did try, and was not let out.
        server.log.wait_for(
            rf"{name}.*(blocked|blacklist|denied)|(blocked|blacklist).*127\.0\.0\.1"
        )
        assert bait.met == []
