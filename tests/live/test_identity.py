"""A server with a worker deployment's homeserver.yaml: its media, its notes, its server.json."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Iterator

import pytest

from ganglion.data.identity import fingerprint
from ganglion.data.secrets import new_signing_key
from tests.account_flows import upload
from tests.harness import Server, free_port
from tests.matrix import CLIENT, Clients

# As Synapse's guide for workers has it, with names of workers that are not here.
GUIDE = """\
enable_media_repo: false
media_instance_running_background_jobs: media1
outbound_federation_restricted_to: [federation1]
instance_map:
  main: {host: localhost, port: 9093}
  event_writer1: {host: localhost, port: 8034}
stream_writers: {events: event_writer1, typing: event_writer1}
federation_sender_instances: [federation1]
send_federation: false
start_pushers: false
pid_file: /run/matrix-synapse.pid
redis: {enabled: true}
database:
  name: sqlite3
  txn_limit: 10000
  args: {database: /var/lib/matrix-synapse/homeserver.db}
listeners:
- {port: 8008, type: http, resources: [{names: [client, federation], compress: true}]}
- {port: 9093, type: http, resources: [{names: [replication]}]}
- {port: MANHOLE, type: manhole, bind_addresses: ['0.0.0.0']}
"""
PASSWORD = "pä ss'\"\\:$1"


@contextlib.contextmanager
def guide_server() -> Iterator[Server]:
    """Make a server with the guide's file, and start it."""
    environment = {
        "POSTGRES_USER": "syn@x.y",
        "POSTGRES_DB": "m.a-trix",
        "POSTGRES_PASSWORD": PASSWORD,
        "REDIS_PASSWORD": PASSWORD,
        "SYNAPSE_SIGNING_KEY": new_signing_key(),
    }
    manhole = str(free_port())
    file = GUIDE.replace("MANHOLE", manhole)
    with Server(workers="synchrotron", environment=environment, operator_file=file) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Share one server between the tests that leave it as it is."""
    with guide_server() as made:
        yield made


@pytest.fixture
def stopped() -> Iterator[Server]:
    """Give a test a data directory of its own, with no server at work in it."""
    with guide_server() as made:
        made.stop()
        yield made


def test_media_is_uploaded_and_downloaded(server: Server) -> None:
    async def both() -> tuple[bytes, bytes]:
        async with Clients(server.base_url) as clients:
            user = await clients.register("uploader")
            uri, image = await upload(user)
            _, _, media = uri.partition("mxc://")
            got = await user.call("GET", f"{CLIENT.replace('v3', 'v1')}/media/download/{media}")
            return image, got["raw"]

    image, got = asyncio.run(both())
    assert got == image


def test_main_keeps_the_parts_of_listeners(server: Server) -> None:
    answer = server.get(f"{CLIENT}/login", {"Accept-Encoding": "gzip"})
    assert (answer.status, answer.headers["Content-Encoding"]) == (200, "gzip")
    (note,) = re.findall(
        r"main's manhole is at 127\.0\.0\.1:(\d+)", server.ganglion("check").stderr
    )
    with socket.create_connection(("127.0.0.1", int(note)), timeout=10) as connection:
        assert connection.recv(8) == b"SSH-2.0-"


def test_check_names_every_key_that_is_replaced(server: Server) -> None:
    found = server.ganglion("check")
    assert found.returncode == 0, found.stderr
    file = f"{server.data}/homeserver.d/50-test.yaml"
    keys = {line.split(": ")[2].split(" ")[0] for line in found.stderr.splitlines() if file in line}
    assert keys == {
        "database.args.database",
        "database.name",
        "enable_media_repo",
        "federation_sender_instances",
        "instance_map",
        "listeners",
        "media_instance_running_background_jobs",
        "outbound_federation_restricted_to",
        "pid_file",
        "send_federation",
        "start_pushers",
        "stream_writers",
    }


def refused(server: Server, **environment: str) -> str:
    """Return how `check` and a start refuse other variables. A start prints notes before."""
    checked = server.ganglion("check", **environment)
    assert checked.returncode == 2, checked.stderr
    started = server.ganglion("run", **environment)
    assert started.returncode == 2
    assert started.stderr.endswith(checked.stderr)
    return checked.stderr


def test_another_database_or_a_lost_key_is_refused_and_nothing_is_lost(stopped: Server) -> None:
    """Also after the record of it is lost as in an older data directory."""
    record = stopped.data / "server.json"
    kept = json.loads(record.read_text())
    assert kept["database"] == {"kind": "embedded", "name": "m.a-trix", "role": "syn@x.y"}
    assert "set POSTGRES_DB=m.a-trix" in refused(stopped, POSTGRES_DB="synapse")
    assert "set POSTGRES_USER=syn@x.y" in refused(stopped, POSTGRES_USER="synapse")
    lost = refused(stopped, SYNAPSE_SIGNING_KEY="")
    assert f"this server's key is {kept['signing_key']}" in lost
    assert not list(stopped.data.glob("*.signing.key"))
    assert json.loads(record.read_text()) == kept

    record.unlink()
    older = stopped.ganglion("run", POSTGRES_DB="synapse")
    assert older.returncode == 2
    assert "set POSTGRES_DB=m.a-trix" in older.stderr
    assert not record.exists()
    stopped.start()
    assert json.loads(record.read_text()) == kept


def test_a_key_is_replaced_on_purpose_and_only_then(stopped: Server) -> None:
    kept = json.loads((stopped.data / "server.json").read_text())
    stopped.environment.pop("SYNAPSE_SIGNING_KEY")
    stopped.environment["GANGLION_REPLACED_SIGNING_KEY"] = kept["signing_key"].split(" ")[0]
    stopped.start()
    stopped.stop()
    made = json.loads((stopped.data / "server.json").read_text())
    assert made["signing_key"] != kept["signing_key"]
    assert {**made, "signing_key": ""} == {**kept, "signing_key": ""}
    (key,) = stopped.data.glob("*.signing.key")
    assert fingerprint(key.read_text()) == made["signing_key"]
    key.unlink()
    assert f"this server's key is {made['signing_key']}" in refused(stopped)
