"""`ganglion apply` changes the layout of a running server: nothing fails, and never half of it."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import GANGLION, Server, wait_until
from tests.live.test_sockets import asking
from tests.matrix import CLIENT, Clients
from tests.processes import identity

BASE = "event_creator, event_persister:2, synchrotron"
MORE_READERS = "event_creator, event_persister:2, synchrotron:2"
MORE_WRITERS = "event_creator, event_persister:3, synchrotron"
MESSAGE = {"msgtype": "m.text", "body": "hello"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(BASE) as started:
        started.start()
        yield started


@pytest.fixture(autouse=True)
def base(server: Server) -> None:
    """Begin each test with the layout of the variable."""
    if not server.running:
        server.start()
    answer = server.ganglion("apply", "--reset")
    assert answer.returncode == 0, answer.stderr


def pids(server: Server) -> dict[str, int]:
    return {item["name"]: item["pid"] for item in server.status()}


def processes(server: Server) -> set[str]:
    return {name for name in pids(server) if name not in ("postgres", "redis", "nginx", "layout")}


def apply(server: Server, workers: str) -> subprocess.CompletedProcess[str]:
    return server.ganglion("apply", workers)


def test_a_reader_more_and_less_fails_no_request_and_touches_nothing_else(server: Server) -> None:
    before = pids(server)
    with asking(server) as found:
        wait_until("the first responses", lambda: found["401"] > 20)
        answer = apply(server, MORE_READERS)
        assert answer.returncode == 0, answer.stderr
        assert "start synchrotron2" in answer.stdout
        after = pids(server)
        answer = server.ganglion("apply", "--reset", "--json")
        assert answer.returncode == 0, answer.stderr
    assert set(found) == {"401"}
    assert {name: after[name] for name in before} == before
    assert after["synchrotron2"]
    assert pids(server) == before
    assert [step["text"] for step in json.loads(answer.stdout)["steps"]][-1].startswith(
        "remove synchrotron2"
    )
    assert not (server.run / "sockets" / "synchrotron2.sock").exists()


def test_writers_change_without_two_lists_alive_at_once(server: Server) -> None:
    asyncio.run(write_meanwhile(server))
    assert {"event_persister1", "event_persister2", "event_persister3"} <= processes(server)
    assert len(views(server)) == 2, "the list has changed"


async def write_meanwhile(server: Server) -> None:
    """Send messages while the writers of events change. Each call raises where a request fails."""
    async with Clients(server.base_url) as clients:
        alice, bob = await clients.register("alice"), await clients.register("bob")
        rooms = [
            (await alice.call("POST", f"{CLIENT}/createRoom", {}))["room_id"] for _ in range(3)
        ]
        await bob.sync()
        done = asyncio.Event()
        sent: list[str] = []

        async def write(room: str) -> None:
            while not done.is_set():
                path = f"{CLIENT}/rooms/{room}/send/m.room.message"
                sent.append((await alice.call("POST", path, MESSAGE))["event_id"])

        writing = [asyncio.create_task(write(room)) for room in rooms]
        waiting = asyncio.create_task(bob.sync(wait=120.0))
        answer = await asyncio.to_thread(apply, server, MORE_WRITERS)
        assert answer.returncode == 0, answer.stderr
        # Some more with the new list.
        for room in rooms:
            await alice.call("POST", f"{CLIENT}/rooms/{room}/send/m.room.message", MESSAGE)
        done.set()
        await asyncio.gather(*writing)
        # The long poll of another user ended early.
        assert (await asyncio.wait_for(waiting, 60.0))["next_batch"]
        for room in rooms:
            path = f"{CLIENT}/rooms/{room}/messages?dir=b&limit=1000"
            events = (await alice.call("GET", path))["chunk"]
            found = {event["event_id"] for event in events}
            sent = [event_id for event_id in sent if event_id not in found]
        assert sent == [], "acknowledged and lost"


def views(server: Server) -> set[str]:
    """Return the digests of all processes' lists since the last start of the server.

    Fails where two were alive at once.
    """
    alive: dict[str, str] = {}
    found: set[str] = set()
    for line in server.log.text().splitlines():
        if started := re.match(r"(\w+) \| writers (\w{12})$", line):
            name, digest = started.groups()
            alive[name] = digest
            found.add(digest)
            assert len(set(alive.values())) == 1, f"two lists at {line}"
        elif "supervisord started" in line:
            alive, found = {}, set()
        elif ended := re.search(r"(?:stopped|exited): (\w+) \(", line):
            alive.pop(ended.group(1), None)
    return found


def test_a_process_that_does_not_get_ready_brings_the_old_layout_back(server: Server) -> None:
    before = pids(server)
    # Neither the supervisor nor Synapse can listen here.
    (server.run / "sockets" / "synchrotron2.sock" / "taken").mkdir(parents=True)
    answer = apply(server, MORE_READERS)
    (server.run / "sockets" / "synchrotron2.sock" / "taken").rmdir()
    (server.run / "sockets" / "synchrotron2.sock").rmdir()
    assert answer.returncode == 1
    assert "synchrotron2 did not get ready" in answer.stderr
    assert "the layout before is back" in answer.stderr
    assert pids(server) == before
    assert not list(server.run.glob("conf.*"))


def test_writers_that_do_not_get_ready_bring_the_old_list_back(server: Server) -> None:
    (server.run / "sockets" / "event_persister3.sock" / "taken").mkdir(parents=True)
    with asking(server) as found:
        wait_until("the first responses", lambda: found["401"] > 20)
        answer = apply(server, MORE_WRITERS)
    (server.run / "sockets" / "event_persister3.sock" / "taken").rmdir()
    (server.run / "sockets" / "event_persister3.sock").rmdir()
    assert answer.returncode == 1
    assert "event_persister3 did not get ready" in answer.stderr
    assert set(found) == {"401"}
    assert "event_persister3" not in processes(server)
    assert len(views(server)) == 2
    assert server.ganglion("ready").returncode == 0


@pytest.mark.parametrize("step", ["stop", "files"])
def test_a_killed_command_leaves_no_half(server: Server, step: str) -> None:
    command = launch(server, MORE_WRITERS, step)
    command.kill()
    command.wait()
    # The supervisor goes on.
    wait_until("the new layout", lambda: "event_persister3" in ready(server))
    assert "APPLIED" in server.ganglion("status").stdout
    assert server.ganglion("ready").returncode == 0


@pytest.mark.parametrize("step", ["stop", "files", "start"])
def test_a_killed_supervisor_leaves_no_half(server: Server, step: str) -> None:
    command = launch(server, MORE_WRITERS, step)
    server.kill()
    command.wait()
    server.start()
    found = processes(server)
    applied = (server.data / "applied.json").exists()
    assert ("event_persister3" in found) is applied
    assert len(found) == (6 if applied else 5)
    conf = (server.run / "conf" / "synapse" / "overrides.yaml").read_text()
    assert ("event_persister3" in conf) is applied


def launch(server: Server, workers: str, step: str) -> subprocess.Popen[bytes]:
    """Start `apply`, and return it once the supervisor has taken the step."""
    since = server.log.mark()
    command = subprocess.Popen(
        [*GANGLION, "apply", workers],
        env=server.environment,
        cwd=server.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server.log.wait_for(rf"change of the layout: {step} ?", since)
    return command


def ready(server: Server) -> set[str]:
    return {item["name"] for item in server.status() if item["state"] == "RUNNING"}


def test_another_change_or_restart_meanwhile_is_refused(server: Server) -> None:
    command = launch(server, MORE_WRITERS, "stop")
    second = apply(server, MORE_READERS)
    restart = server.ganglion("restart", "main")
    assert command.wait() == 0
    assert (second.returncode, restart.returncode) == (2, 2)
    assert "is held by another restart or apply" in second.stderr
    assert "is held by another restart or apply" in restart.stderr
    assert "event_persister3" in ready(server)


def test_the_layout_outlives_a_restart_until_the_variable_changes(server: Server) -> None:
    assert apply(server, MORE_READERS).returncode == 0
    server.stop()
    server.start()
    assert "synchrotron2" in processes(server)
    assert f"{MORE_READERS}; the variable WORKERS is {BASE}" in server.ganglion("status").stdout
    server.stop()
    server.environment["WORKERS"] = "none"
    try:
        server.start()
        assert processes(server) == {"main"}
        assert "layout: of the variable WORKERS" in server.ganglion("status").stdout
        server.stop()
    finally:
        server.environment["WORKERS"] = BASE
    server.start()
    # Not the layout of before: the variable has changed since.
    assert "synchrotron2" not in processes(server)


def test_all_wrong_entries_are_reported_and_nothing_changes(server: Server) -> None:
    before = pids(server)
    answer = apply(server, "synchrotronn, pusher:x")
    assert answer.returncode == 2
    assert "did you mean 'synchrotron'?" in answer.stderr
    assert "invalid number of workers 'x'" in answer.stderr
    answer = server.ganglion("apply")
    assert (answer.returncode, "is missing" in answer.stderr) == (2, True)
    assert pids(server) == before


def test_other_changes_do_not_come_along(server: Server) -> None:
    before = pids(server)
    answer = server.ganglion("apply", MORE_READERS, SYNAPSE_PUBLIC_BASEURL="https://example.com/")
    assert answer.returncode == 2, answer.stderr
    assert "has changed since" in answer.stderr
    assert pids(server) == before


def test_a_dead_process_does_not_disturb_a_change_of_others(server: Server) -> None:
    command = launch(server, MORE_READERS, "files")
    os.kill(server.pid("event_creator1"), signal.SIGKILL)
    assert command.wait() == 0
    wait_until("all", lambda: {"event_creator1", "synchrotron2"} <= ready(server))


def test_the_same_value_is_recorded_without_a_step(server: Server) -> None:
    before = pids(server)
    assert apply(server, BASE).returncode == 0
    assert {**pids(server), "layout": 0} == {**before, "layout": 0}
    assert json.loads((server.data / "applied.json").read_text())["workers"] == BASE
    assert Path(f"/proc/{before['main']}").exists()
    assert identity(before["main"])
