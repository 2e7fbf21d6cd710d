"""The stacks of compose/: each is started, used and removed."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping

import pytest
from nio import RoomCreateResponse

from ganglion.machine import capabilities
from tests import flows
from tests.harness import SHARED_SECRET, wait_until
from tests.image.engine import (
    CLIENT_ENVIRONMENT,
    OPERATOR_FILES,
    ROOT,
    Container,
    docker,
    run,
    watched,
)
from tests.matrix import Clients, Json, event, ok, timeline
from tests.prometheus import Prometheus
from tests.room_flows import ROOM_VERSION, say

# The services that a stack builds itself, besides Ganglion's image.
BUILT = {
    "external": ("postgres", "redis"),
    "bot": ("registration", "bot"),
    "monitoring": ("prometheus",),
}


@contextlib.contextmanager
def stack(
    image: str, name: str, environment: Mapping[str, str] = CLIENT_ENVIRONMENT, beside: str = ""
) -> Iterator[Container]:
    """Start a stack, and remove it afterwards with its data. Yields Ganglion's container.

    `beside` is a second file of compose/, which adds to the first.
    `environment` are variables that the flows need, and that the stack's own file lacks.
    """
    added = json.dumps({"services": {"ganglion": {"environment": dict(environment)}}})
    base = run("scripts/build", "--base").stdout.strip()
    variables = {
        "BASE": base,
        "GANGLION_IMAGE": image,
        # Without a number, Docker chooses the port.
        "HTTP_PORT": "127.0.0.1:",
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "REDIS_PASSWORD": secrets.token_hex(16),
        "CONTROL_TOKEN": secrets.token_hex(16),
        "PROMETHEUS_PORT": "127.0.0.1:",
    }
    names = [name, beside] if beside else [name]
    files = [word for each in names for word in ("--file", str(ROOT / "compose" / f"{each}.yaml"))]
    project = f"ganglion-test-{secrets.token_hex(4)}"

    def compose(*words: str) -> str:
        return run(
            *("docker", "compose", "--project-name", project),
            *(*files, "--file", "-", *words),
            stdin=added.encode(),
            timeout=600,
            environment=variables,
        ).stdout.strip()

    try:
        # Not Ganglion's image, which would lose the labels of scripts/build.
        if built := [service for each in names for service in BUILT.get(each, ())]:
            compose("build", *built)
        compose("create", "--no-build")
        made = Container(compose("ps", "--all", "--quiet", "ganglion"))
        made.put("/data/homeserver.d", OPERATOR_FILES)
        with watched(made):
            compose("up", "--detach", "--wait", "--no-build")
            yield made
    finally:
        compose("down", "--volumes", "--rmi", "local", "--timeout", "20")


@pytest.mark.parametrize("name", ["single", "external"])
def test_serves_clients(image: str, name: str) -> None:
    with stack(image, name) as server:
        asyncio.run(flows.whole_flow(server.base_url, SHARED_SECRET))
        embedded = {"postgres", "redis"} & set(server.pids())
        assert embedded == ({"postgres", "redis"} if name == "single" else set())


def test_the_hardened_stack_serves_clients_with_few_rights(image: str) -> None:
    given = {
        name: value for name, value in CLIENT_ENVIRONMENT.items() if "SHARED_SECRET" not in name
    }
    with stack(image, "hardened", given) as server:
        secret = server.privileged("cat", "/secrets/registration_shared_secret").strip()
        asyncio.run(flows.whole_flow(server.base_url, secret))
        found = server.inspect()
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        # Newer engines write CAP_ in front.
        assert {name.removeprefix("CAP_") for name in host["CapAdd"]} == set(capabilities.ROOT)
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["Memory"] == host["MemorySwap"] == 2 * 1024**3
        assert host["PidsLimit"] == 2048
        published = {name for name, at in found["NetworkSettings"]["Ports"].items() if at}
        assert published == {"8008/tcp"}
        # No secret is in the environment, and root cannot write outside the volumes.
        assert secret not in json.dumps(found)
        failed = server.privileged("sh", "-c", "touch /usr/planted 2>&1; true")
        assert "Read-only file system" in failed


@pytest.mark.parametrize("name", ["single", "external"])
def test_shows_no_password(name: str) -> None:
    """Neither the stack's definition nor `docker inspect` shows it."""
    password = "shown-nowhere"
    environment = {"POSTGRES_PASSWORD": password, "REDIS_PASSWORD": password}
    file = str(ROOT / "compose" / f"{name}.yaml")
    shown = run("docker", "compose", "--file", file, "config", environment=environment).stdout
    assert password not in shown


def test_a_bot_is_invited_and_answers(image: str) -> None:
    with stack(image, "bot") as server:
        asyncio.run(ping(server.base_url))


def test_prometheus_watches_the_server(image: str) -> None:
    with stack(image, "single", beside="monitoring") as server:
        project = server.inspect()["Config"]["Labels"]["com.docker.compose.project"]
        labels = (f"project={project}", "service=prometheus")
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        address = docker("port", docker("ps", "--quiet", *filters), "9090/tcp")
        found = Prometheus(int(address.rpartition(":")[2]))
        wait_until("scrape of each process", lambda: (
            found.query('sum by (process) (synapse_build_info{job="ganglion"})')
        ))  # fmt: skip
        assert found.query('up{job="ganglion"} == 1')
        (group,) = found.get("rules")["groups"]
        assert group["name"] == "ganglion"


async def ping(base_url: str) -> None:
    async with Clients(base_url) as clients:
        alice = await clients.register("alice")
        bot = "@ping:localhost"
        created = await alice.nio.room_create(room_version=ROOM_VERSION, invite=[bot])
        room_id = str(ok(created, RoomCreateResponse).room_id)
        path = timeline(room_id)
        await alice.until("bot", event(path, lambda e: came(e, bot)))
        await say(alice, room_id, "!ping")
        answer = await alice.until("answer", event(path, lambda e: e["sender"] == bot))
        assert answer["content"] == {"msgtype": "m.notice", "body": "pong"}


def came(found: Json, user_id: str) -> bool:
    """Return whether an event is the join of a user."""
    return bool(
        found["type"] == "m.room.member"
        and found["state_key"] == user_id
        and found["content"]["membership"] == "join"
    )
