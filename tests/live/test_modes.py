"""Test mode; and the adoption of a data directory of Synapse's own image."""

import asyncio
import os
import secrets
import shutil
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import flows
from tests.account_flows import upload
from tests.certificates import Authority
from tests.harness import WITHIN, Server, free_port
from tests.matrix import Clients

# More requests in a second than any rate limit of Synapse permits.
MANY = 40
# As `generate` of Synapse's image writes it, with the paths in its container.
HOMESERVER = """\
server_name: "example.org"
pid_file: {data}/homeserver.pid
listeners:
  - port: 8008
    resources: [{{compress: false, names: [client, federation]}}]
    tls: false
    type: http
    x_forwarded: true
database:
  name: sqlite3
  args: {{database: {data}/homeserver.db}}
log_config: "{data}/example.org.log.config"
media_store_path: {data}/media_store
registration_shared_secret: "{secret}"
report_stats: false
macaroon_secret_key: "theirs-macaroon"
form_secret: "theirs-form"
signing_key_path: "{data}/example.org.signing.key"
trusted_key_servers: []
suppress_key_server_warning: true
"""


def bare(environment: dict[str, str]) -> Server:
    """A server without the test harness's options: rate limits apply, registration is closed."""
    server = Server(None, environment)
    shutil.rmtree(server.data)
    server.environment["CONTROL_PORT"] = str(free_port())
    for name in (
        "GANGLION_ADMIN_NETWORKS",
        "SYNAPSE_ENABLE_REGISTRATION",
        "SYNAPSE_REGISTRATION_SHARED_SECRET",
    ):
        del server.environment[name]
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    authority = Authority.make(tmp_path_factory.mktemp("authority"))
    with bare({"SERVER_NAME": "127.0.0.1"}) as server:
        place = server.root / "complement"
        (place / "ca").mkdir(parents=True)
        authority.as_complement(place / "ca")
        server.environment["GANGLION_COMPLEMENT"] = str(place)
        server.start()
        yield server


def test_the_log_and_check_warn_of_test_mode(server: Server) -> None:
    lines = server.log.text().splitlines()
    assert any(line.startswith("ganglion | TEST MODE (Complement's") for line in lines)
    checked = server.ganglion("check")
    assert checked.returncode == 0
    assert "note: TEST MODE (Complement's certificate authority is in " in checked.stderr
    named = {"GANGLION_TEST_MODE": "no", "GANGLION_SWITCH_TEST_MODE": "127.0.0.1"}
    assert "TEST MODE" not in server.ganglion("check", **named).stderr


def test_main_runs_alone(server: Server) -> None:
    expected = {"postgres", "redis", "main", "nginx", "control"}
    assert {row["name"] for row in server.status()} == expected


def test_registration_is_open_and_rate_limits_are_disabled(server: Server) -> None:
    async def hurry() -> None:
        async with Clients(server.base_url) as clients:
            users = [await clients.register("user") for _ in range(MANY)]
            created = await users[0].call("POST", "/_matrix/client/v3/createRoom", {})
            path = f"/_matrix/client/v3/rooms/{created['room_id']}/send/m.room.message"
            for number in range(MANY):
                content = {"msgtype": "m.text", "body": f"{number}"}
                await users[0].call("PUT", f"{path}/{secrets.token_hex(4)}", content)
            for _ in range(MANY):
                await clients.login(users[1].user_id, users[1].password)

    asyncio.run(hurry())


def test_everything_works_with_complements_secret(server: Server) -> None:
    asyncio.run(flows.whole_flow(server.base_url, "complement"))


def test_https_is_served_with_a_certificate_of_the_authority(server: Server) -> None:
    found = server.data / "complement"
    assert (found / "server.key").stat().st_mode & 0o777 == 0o600
    authority = Path(server.environment["GANGLION_COMPLEMENT"], "ca", "ca.crt")
    trusting = ssl.create_default_context(cafile=str(authority))
    url = f"{server.tls_url}/_matrix/federation/v1/version"
    with urllib.request.urlopen(url, context=trusting, timeout=WITHIN) as answer:  # noqa: S310
        assert answer.status == 200


def left_by_synapse(server: Server) -> str:
    """Make a data directory as Synapse's image leaves it, with a user. Returns the user's ID."""
    environment = {
        "GANGLION_TEST_MODE": "yes",
        "SYNAPSE_COMPLEMENT_DATABASE": "sqlite",
        "SYNAPSE_SERVER_NAME": "example.org",
    }
    with bare(environment) as before:
        before.start()
        before.ganglion("register-user", "dora", "--admin", stdin="password of dora\n")
        before.stop()
        server.data.mkdir()
        shutil.copy(before.data / "sqlite" / "homeserver.db", server.data)
        shutil.copy(before.data / "example.org.signing.key", server.data)
    (server.data / "media_store" / "local_content").mkdir(parents=True)
    (server.data / "homeserver.yaml").write_text(
        HOMESERVER.format(data=server.data, secret="theirs-registration")
    )
    (server.data / "example.org.log.config").write_text("{version: 1}\n")
    if os.geteuid() == 0:
        # Another account than the one that runs Synapse here.
        for path in (server.data, *server.data.rglob("*")):
            os.chown(path, 4711, 4711)
    return "@dora:example.org"


@pytest.mark.parametrize("numbers", [{}, {"UID": "4712", "GID": "4713"}])
def test_a_data_directory_with_an_sqlite_database_is_adopted(numbers: dict[str, str]) -> None:
    if numbers and os.geteuid() != 0:
        pytest.skip("only root runs as somebody else")
    with bare(numbers) as server:
        user_id = left_by_synapse(server)
        key = (server.data / "example.org.signing.key").read_text().strip()
        server.start()
        asyncio.run(use(server, user_id))
        assert {row["name"] for row in server.status()} == {"redis", "main", "nginx", "control"}
        assert not (server.data / "postgres").exists()
        assert (server.run / "conf" / "secrets" / "signing_key").read_text().strip() == key
        if numbers:
            status = Path("/proc", str(server.pid("main")), "status").read_text()
            assert "Uid:\t4712\t" in status
            assert "Gid:\t4713\t" in status
        refused = server.ganglion("check", WORKERS="client_reader")
        assert refused.returncode == 2
        assert "synapse_port_db" in refused.stderr
        server.stop()
        server.start()
        asyncio.run(use(server, user_id))


async def use(server: Server, user_id: str) -> None:
    """Log in, register a user with the operator's secret, and upload a file."""
    async with Clients(server.base_url) as clients:
        dora = await clients.login(user_id, "password of dora")
        await upload(dora)
    made = server.ganglion("register-user", f"u{secrets.token_hex(4)}", stdin="password\n")
    assert made.returncode == 0, made.stderr
