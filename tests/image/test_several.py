"""One server in several containers, from exported files: by Compose, and in a swarm of one node."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import trustme
from nio import RoomCreateResponse

from ganglion.export.deployment import deployment
from ganglion.export.targets import BY_NAME
from ganglion.plan import assemble
from tests import flows
from tests.golden.cases import SIGNING_KEY
from tests.harness import SHARED_SECRET, free_port, wait_until
from tests.image.engine import CLIENT_ENVIRONMENT, OPERATOR_FILES, Container, docker, run, watched
from tests.matrix import CLIENT, Clients, Session, ok
from tests.room_flows import ROOM_VERSION, say

SECRETS = {
    "SYNAPSE_SIGNING_KEY": SIGNING_KEY,
    "SYNAPSE_REGISTRATION_SHARED_SECRET": SHARED_SECRET,
    **{
        name: f"{name.lower()}-in-tests"
        for name in (
            "SYNAPSE_MACAROON_SECRET_KEY",
            "SYNAPSE_FORM_SECRET",
            "SYNAPSE_WORKER_REPLICATION_SECRET",
            "POSTGRES_PASSWORD",
            "REDIS_PASSWORD",
        )
    },
}
# Replication of the compose export is encrypted, that of the swarm is not.
PAIR = trustme.CA().issue_cert("ganglion")
ENCRYPTION = {
    "GANGLION_REPLICATION_CERT": PAIR.cert_chain_pems[0].bytes().decode(),
    "GANGLION_REPLICATION_KEY": PAIR.private_key_pem.bytes().decode(),
}
# The least that has a writer and two readers.
WORKERS = "event_persister, sync=synchrotron:2"
PARTS = ("nginx", "main", "event-persister1", "sync1", "sync2")
# In seconds. On a busy machine a container takes half a minute to start.
SOON = 240.0


def exported(target: str, server_name: str = "localhost", **more: str) -> str:
    given = {name: text for name, text in CLIENT_ENVIRONMENT.items() if name not in SECRETS}
    environ = {
        **given,
        "WORKERS": WORKERS,
        "SYNAPSE_SERVER_NAME": server_name,
        # No operator's files.
        "GANGLION_DATA": "/nowhere",
        **more,
    }
    (file,) = BY_NAME[target].render(deployment(environ, assemble), "stack.yaml")
    assert not any(text in file.content for text in {**SECRETS, **more}.values())
    return file.content


@pytest.fixture(scope="module")
def stores() -> dict[str, str]:
    """Build the images of PostgreSQL and Redis. Returns the variables that name them."""
    base = run("scripts/build", "--base").stdout.strip()
    found = {}
    for name in ("postgres", "redis"):
        image = f"ganglion-test-{name}"
        docker("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", image, f"compose/{name}")
        found[f"{name.upper()}_IMAGE"] = image
    return found


async def converse(url: str, name: str) -> tuple[str, str, str]:
    """Register a user, make a room, say something. Returns the user's ID, token and room."""
    async with Clients(url) as clients:
        session = await clients.register_with_secret(name, SHARED_SECRET)
        created = await session.nio.room_create(room_version=ROOM_VERSION)
        room = str(ok(created, RoomCreateResponse).room_id)
        await say(session, room, "first")
        return session.user_id, str(session.nio.access_token), room


async def goes_on(url: str, user_id: str, token: str, room: str) -> None:
    """Say something, and see it in /sync."""
    async with Clients(url) as clients:
        session: Session = clients.resume(user_id, token)
        event = await say(session, room, "again")
        since = (await session.call("GET", f"{CLIENT}/sync?timeout=0"))["next_batch"]
        await session.call("GET", f"{CLIENT}/sync?timeout=0&since={quote(since)}")
        found = await session.call("GET", f"{CLIENT}/rooms/{quote(room)}/event/{quote(event)}")
        assert found["content"]["body"] == "again"


@contextlib.contextmanager
def composed(image: str, stores: dict[str, str]) -> Iterator[dict[str, Container]]:
    text = exported("compose", **ENCRYPTION)
    project = f"ganglion-test-{secrets.token_hex(4)}"
    variables = {"GANGLION_IMAGE": image, "HTTP_PORT": "127.0.0.1:", **stores}
    variables |= {**SECRETS, **ENCRYPTION}

    def compose(*words: str) -> str:
        return run(
            *("docker", "compose", "--project-name", project, "--file", "-", *words),
            stdin=text.encode(),
            timeout=900,
            environment=variables,
        ).stdout.strip()

    try:
        compose("create")
        made = {name: Container(compose("ps", "--all", "--quiet", name)) for name in PARTS}
        with contextlib.ExitStack() as stack:
            for container in made.values():
                container.put("/data/homeserver.d", OPERATOR_FILES)
                stack.enter_context(watched(container))
            compose("up", "--detach", "--wait")
            yield made
    finally:
        compose("down", "--volumes", "--timeout", "20")


def test_a_compose_export_serves_clients_and_survives_the_loss_of_containers(
    image: str, stores: dict[str, str]
) -> None:
    with composed(image, stores) as parts:
        url = parts["nginx"].base_url
        asyncio.run(flows.whole_flow(url, SHARED_SECRET))
        for name, container in parts.items():
            assert not any(text in json.dumps(container.inspect()) for text in SECRETS.values())
            rows = set(container.pids())
            own = {name, "control"} if name == "nginx" else {name}
            assert {row.replace("_", "-") for row in rows} == own
        assert "listening on TCP port 18001 (TLS)" in parts["event-persister1"].log()
        talk = asyncio.run(converse(url, "lasting"))
        # A reader has gone: others answer. A message waits for the writer.
        docker("kill", parts["sync1"].id)
        asyncio.run(goes_on(url, *talk))
        docker("restart", "--time", "0", parts["event-persister1"].id)
        asyncio.run(goes_on(url, *talk))
        docker("start", parts["sync1"].id)
        parts["sync1"].wait_healthy()
        asyncio.run(goes_on(url, *talk))


@contextlib.contextmanager
def swarm() -> Iterator[None]:
    """Make this engine a swarm of one node, unless it is one."""
    state = docker("info", "--format", "{{.Swarm.LocalNodeState}}")
    if state == "active":
        yield
        return
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        yield
    finally:
        docker("swarm", "leave", "--force")


def tasks(stack: str, service: str) -> list[str]:
    """Return the running containers of a service."""
    label = f"label=com.docker.swarm.service.name={stack}_{service}"
    return docker("ps", "--quiet", "--filter", label).split()


def healthy(containers: list[str], number: int) -> bool:
    states = [Container(item).inspect()["State"] for item in containers]
    up = [item for item in states if item.get("Health", {}).get("Status") == "healthy"]
    return len(up) == len(containers) == number


@contextlib.contextmanager
def deployed(image: str, stores: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Deploy a stack. Yields its name and nginx's URL."""
    stack = f"gt-{secrets.token_hex(3)}"
    made = [f"ganglion_{name.lower()}" for name in SECRETS]
    text = exported("swarm")
    # The secrets of the test have names of their own.
    for name in made:
        text = text.replace(f"name: {name}\n", f"name: {stack}-{name[9:]}\n")
    port = free_port()
    try:
        for name, value in SECRETS.items():
            secret = f"{stack}-{name.lower()}"
            docker("secret", "create", secret, "-", stdin=value.encode())
        run(
            *("docker", "stack", "deploy", "--compose-file", "-", "--resolve-image=never", stack),
            stdin=text.encode(),
            environment={"GANGLION_IMAGE": image, "HTTP_PORT": str(port), **stores},
        )
        expected = {"nginx": 1, "main": 1, "event-persister1": 1, "sync": 2}
        wait_until(
            "deployed stack",
            lambda: all(healthy(tasks(stack, name), each) for name, each in expected.items()),
            SOON,
        )
        yield stack, f"http://127.0.0.1:{port}"
    except AssertionError as error:
        for line in docker("ps", "--all", "--quiet", "--filter", f"name=^{stack}").split():
            error.add_note(run("docker", "logs", "--tail", "30", line, check=False).stdout)
        raise
    finally:
        docker("stack", "rm", stack, check=False)
        wait_until(
            "removed stack",
            lambda: not docker("ps", "--all", "--quiet", "--filter", f"name=^{stack}"),
        )
        for name in made:
            docker("secret", "rm", f"{stack}-{name[9:]}", check=False)
        for volume in docker("volume", "ls", "--quiet", "--filter", f"name=^{stack}").split():
            docker("volume", "rm", "--force", volume, check=False)


def sent(url: str, talk: tuple[str, str, str]) -> bool:
    """Send a message and read it. Return whether that succeeded."""
    try:
        asyncio.run(goes_on(url, *talk))
    except AssertionError:
        return False
    return True


def test_a_swarm_export_is_deployed_and_users_go_on_without_a_task(
    image: str, stores: dict[str, str]
) -> None:
    with swarm(), deployed(image, stores) as (stack, url):
        talk = asyncio.run(converse(url, "swarm"))
        asyncio.run(goes_on(url, *talk))
        # A reader is lost with its container: another one takes its users at once.
        lost, _ = tasks(stack, "sync")
        docker("rm", "--force", lost)
        asyncio.run(goes_on(url, *talk))
        # The only writer of events is lost: a message waits until its successor is there. Synapse
        # waits for half a minute; on a busy machine the client has to send again.
        (writer,) = tasks(stack, "event-persister1")
        docker("rm", "--force", writer)
        wait_until("message", lambda: sent(url, talk), SOON)
        wait_until("successors", lambda: healthy(tasks(stack, "sync"), 2), SOON)
        wait_until("successor", lambda: healthy(tasks(stack, "event-persister1"), 1), SOON)
        asyncio.run(goes_on(url, *talk))
