"""Containers as Complement starts them, with its authority and without other settings.

https://github.com/matrix-org/complement/blob/main/README.md#image-requirements
"""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import flows
from tests.certificates import Authority
from tests.federation import converse
from tests.image.engine import Container, container, docker, network
from tests.matrix import Clients

SHARED_SECRET = "complement"
AS_TOKEN = "token-of-the-bridge"
REGISTRATION = f"""\
id: bridge
url: null
as_token: {AS_TOKEN}
hs_token: unused
sender_localpart: bridge
namespaces: {{users: [{{exclusive: false, regex: ".*"}}], rooms: [], aliases: []}}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The files of Complement's authority."""
    directory: Path = tmp_path_factory.mktemp("authority")
    (directory / "ca").mkdir()
    Authority.make(directory).as_complement(directory / "ca")
    return {path.name: path.read_text() for path in (directory / "ca").iterdir()}


@contextlib.contextmanager
def homeserver(
    image: str,
    where: str,
    name: str,
    files: Mapping[str, Mapping[str, str]],
    **environment: str,
) -> Iterator[Container]:
    """A healthy server with this name on the network, as Complement waits for it."""
    options = ("--network", where, "--network-alias", name)
    environ = {"SERVER_NAME": name, **environment}
    began = time.monotonic()
    with container(image, environ, *options, operator_files={}, files=files) as made:
        made.wait_healthy()
        took = time.monotonic() - began
        assert get(made, "/_matrix/client/versions")["versions"]
        print(f"{name}: healthy after {took:.1f} s")
        yield made


def get(server: Container, path: str, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(server.base_url + path, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        return json.load(answer)


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with network() as name:
        yield name


@pytest.fixture(scope="module")
def first(image: str, place: str, authority: Mapping[str, str]) -> Iterator[Container]:
    files = {
        "/complement/ca": authority,
        "/complement/appservice": {"bridge.yaml": REGISTRATION},
        "/conf/homeserver.d": {"extra.yaml": "max_upload_size: 12345\n"},
    }
    database = {"SYNAPSE_COMPLEMENT_DATABASE": "postgres"}
    with homeserver(image, place, "hs1", files, **database) as made:
        yield made


def test_the_log_warns_of_test_mode(first: Container) -> None:
    log = first.log()
    assert (
        "TEST MODE (Complement's certificate authority is in /complement/ca): NOT FOR REAL USERS"
        in log
    )
    assert "made a certificate for hs1, signed by /complement/ca/ca.crt" in log
    assert set(first.pids()) == {"postgres", "redis", "main", "nginx", "control"}


def test_application_services_and_extra_configuration_are_picked_up(first: Container) -> None:
    assert get(first, "/_matrix/client/v3/account/whoami", AS_TOKEN)["user_id"] == "@bridge:hs1"
    assert get(first, "/_matrix/client/v1/media/config", AS_TOKEN)["m.upload.size"] == 12345


@pytest.mark.parametrize(
    ("name", "environment", "processes"),
    [
        ("hs2", {"SYNAPSE_COMPLEMENT_DATABASE": "sqlite"}, {"redis", "main", "nginx", "control"}),
        (
            "hs3",
            {
                "WORKERS": "federation_sender, federation_reader, event_persister",
                "SYNAPSE_COMPLEMENT_USE_ASYNCIO_REACTOR": "true",
            },
            {
                *("postgres", "redis", "main", "nginx", "control"),
                *("federation_sender1", "federation_reader1", "event_persister1"),
            },
        ),
    ],
)
def test_two_servers_federate_over_certificates_of_that_authority(
    image: str,
    place: str,
    authority: Mapping[str, str],
    first: Container,
    name: str,
    environment: Mapping[str, str],
    processes: set[str],
) -> None:
    files = {"/complement/ca": authority}
    with homeserver(image, place, name, files, **environment) as other:
        assert set(other.pids()) == processes
        asyncio.run(converse(first.base_url, other.base_url))
        asyncio.run(converse(other.base_url, first.base_url))


def test_a_server_with_another_authority_is_rejected(
    image: str, place: str, tmp_path: Path, first: Container
) -> None:
    """Without this, the conversation above would prove nothing about certificates."""
    Authority.make(tmp_path).as_complement(tmp_path)
    files = {
        "/complement/ca": {
            f"ca.{end}": (tmp_path / f"ca.{end}").read_text() for end in ("crt", "key")
        }
    }
    database = {"SYNAPSE_COMPLEMENT_DATABASE": "sqlite"}
    with homeserver(image, place, "hs4", files, **database) as stranger:
        with pytest.raises(AssertionError):
            asyncio.run(converse(first.base_url, stranger.base_url))
        first_log = first.log()
    assert "certificate verify failed" in first_log or "CERTIFICATE_VERIFY_FAILED" in first_log


def test_the_workers_of_synapses_image_run(
    image: str, place: str, authority: Mapping[str, str]
) -> None:
    environment = {"SYNAPSE_COMPLEMENT_USE_WORKERS": "true"}
    with homeserver(image, place, "hs5", {"/complement/ca": authority}, **environment) as server:
        assert len(server.pids()) > 15
        asyncio.run(flows.whole_flow(server.base_url, SHARED_SECRET))


def test_data_survive_a_stop_a_kill_and_a_commit(
    authority: Mapping[str, str], first: Container
) -> None:
    kept = asyncio.run(whole(first.base_url))
    first.stop()
    first.start()
    first.wait_healthy()
    asyncio.run(known(first.base_url, kept))
    docker("kill", first.id)
    first.start()
    first.wait_healthy()
    asyncio.run(known(first.base_url, kept))
    # Once while it runs, and once stopped, as Complement does it.
    images = [docker("commit", first.id)]
    first.stop()
    images.append(docker("commit", first.id))
    try:
        for committed in images:
            # Complement copies its authority into each container that it makes.
            files = {"/complement/ca": authority}
            with network() as elsewhere, homeserver(committed, elsewhere, "hs1", files) as again:
                assert again.id != first.id
                asyncio.run(known(again.base_url, kept))
                assert "made a certificate" not in again.log()
    finally:
        for committed in images:
            docker("image", "rm", committed)
        # Other tests use it too.
        first.start()
        first.wait_healthy()


async def whole(base_url: str) -> tuple[str, str, str]:
    """Make a user with the shared secret. Returns its ID, password and token."""
    async with Clients(base_url) as clients:
        session = await clients.register_with_secret("kept", SHARED_SECRET, admin=True)
        return session.user_id, session.password, session.nio.access_token


async def known(base_url: str, kept: tuple[str, str, str]) -> None:
    user_id, password, token = kept
    async with Clients(base_url) as clients:
        resumed = clients.resume(user_id, token)
        answer = await resumed.call("GET", "/_matrix/client/v3/account/whoami")
        assert answer["user_id"] == user_id
        # The administrators' API is open to this user.
        await resumed.call("GET", f"/_synapse/admin/v2/users/{user_id}")
        await clients.login(user_id, password)
