"""One server in a container: used, inspected, damaged, stopped and replaced."""

import asyncio
import json
import re
import time
from collections.abc import Iterator

import pytest

from tests import flows
from tests.harness import SHARED_SECRET, wait_until
from tests.image.engine import CLIENT_ENVIRONMENT, Container, container, volume
from tests.matrix import Clients

WORKERS = "event_persister:2, synchrotron:2, client_reader, federation_sender"
NAMES = (
    "client_reader1",
    "event_persister1",
    "event_persister2",
    "federation_sender1",
    "synchrotron1",
    "synchrotron2",
)

# Prints every process as [number, parent, user, command]. What the engine puts in has no parent.
LIST_PROCESSES = r"""
import contextlib, json, pathlib, re
found = []
for path in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):  # it has ended since
        fields = dict(re.findall(r"(?m)^(Pid|PPid|Uid):\s+(\d+)", (path / "status").read_text()))
        command = (path / "cmdline").read_text().replace("\0", " ").strip()
        found.append([int(fields["Pid"]), int(fields["PPid"]), int(fields["Uid"]), command])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def data() -> Iterator[str]:
    with volume() as name:
        yield name


@pytest.fixture(scope="module")
def server(image: str, data: str) -> Iterator[Container]:
    environment = {**CLIENT_ENVIRONMENT, "WORKERS": WORKERS}
    began = time.monotonic()
    with container(image, environment, "--volume", f"{data}:/data") as made:
        made.wait_healthy()
        print(f"healthy after {time.monotonic() - began:.1f} s")
        yield made


@pytest.fixture(scope="module")
def kept(server: Container) -> flows.Kept:
    return asyncio.run(flows.whole_flow(server.base_url, SHARED_SECRET))


def test_healthy_means_ready(server: Container) -> None:
    answer = server.ganglion("ready", check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_runs_the_workers_asked_for(server: Container) -> None:
    assert set(server.pids()) == {"postgres", "redis", "main", *NAMES, "nginx", "control"}


def test_clients_are_served(kept: flows.Kept) -> None:
    assert kept.event_id


def test_only_two_processes_are_root(server: Container) -> None:
    """The supervisor, and nginx's master, which must read the TLS key and serves no client."""
    listed = json.loads(server.inside("/opt/ganglion/venv/bin/python", "-c", LIST_PROCESSES).stdout)
    ours = [(user, command) for pid, parent, user, command in listed if pid == 1 or parent != 0]
    # More than status lists: PostgreSQL and nginx have child processes.
    assert len(ours) > len(server.pids())
    privileged = sorted(command for user, command in ours if user == 0)
    assert len(privileged) == 2, privileged
    assert privileged[0].endswith("ganglion: supervisor")
    assert privileged[1].startswith("nginx: master process")


def test_registers_a_user(server: Container) -> None:
    server.ganglion("register-user", "carol", "--admin", stdin="a password of carol's\n")

    async def use_account() -> None:
        async with Clients(server.base_url) as clients:
            session = await clients.login("@carol:localhost", "a password of carol's")
            await session.call("GET", "/_synapse/admin/v2/users/@carol:localhost")

    asyncio.run(use_account())


def test_a_killed_worker_comes_back(server: Container) -> None:
    before = server.pids()
    server.inside("bash", "-c", f"kill -KILL {before['synchrotron1']}")

    def again() -> bool:
        return server.pids().get("synchrotron1") not in {before["synchrotron1"], 0, None}

    wait_until("new synchrotron1", again)
    wait_until("ready server", lambda: server.ganglion("ready", check=False).returncode == 0)
    after = server.pids()
    assert {name: pid for name, pid in after.items() if before[name] != pid} == {
        "synchrotron1": after["synchrotron1"]
    }


def test_stops_in_order_and_loses_nothing(
    image: str, data: str, server: Container, kept: flows.Kept
) -> None:
    took = server.stop()
    print(f"stopped in {took:.1f} s")
    assert stopped(server) == [{"nginx"}, set(NAMES), {"main"}, {"redis"}, {"postgres"}]

    environment = {**CLIENT_ENVIRONMENT, "WORKERS": "small, typing"}
    with container(image, environment, "--volume", f"{data}:/data") as other:
        other.wait_healthy()
        assert "typing1" in other.pids()
        asyncio.run(flows.still_there(other.base_url, kept))
        other.stop()
    # Other tests use it too.
    server.start()
    server.wait_healthy()


def stopped(server: Container) -> list[set[str]]:
    """The processes in the order in which they ended, the workers as one set."""
    order: list[set[str]] = []
    line = re.compile(r"^supervisor .* stopped: (\S+) \((.*)\)$", re.MULTILINE)
    for name, how in line.findall(server.log()):
        assert how == "exit status 0", f"{name}: {how}"
        if name == "control":
            # It stops together with nginx, before or after it.
            continue
        if name in NAMES and order and order[-1] & set(NAMES):
            order[-1].add(name)
        else:
            order.append({name})
    return order
