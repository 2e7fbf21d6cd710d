"""`ganglion apply` changes the layout of a running server: nothing fails, and never half of it."""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import resource
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import pytest

from tests.harness import GANGLION, WITHIN, Server, wait_until
from tests.live.test_sockets import asking
from tests.matrix import CLIENT, Clients, unused
from tests.raw_http import raw_request

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
    with asking(server) as found, long_poll(server) as ended:
        wait_until("the first responses", lambda: found["401"] > 20)
        answer = apply(server, MORE_READERS)
        assert answer.returncode == 0, answer.stderr
        assert "start synchrotron2" in answer.stdout
        after = pids(server)
        answer = server.ganglion("apply", "--reset", "--json")
        assert answer.returncode == 0, answer.stderr
        assert not ended(), "nginx has taken new files twice meanwhile"
    assert set(found) == {"401"}
    assert {name: after[name] for name in before} == before
    assert after["synchrotron2"]
    assert pids(server) == before
    assert [step["text"] for step in json.loads(answer.stdout)["steps"]][-1].startswith(
        "remove synchrotron2"
    )
    assert not (server.run / "sockets" / "synchrotron2.sock").exists()


@contextlib.contextmanager
def long_poll(server: Server) -> Iterator[Callable[[], bool]]:
    """Begin a long poll of the present reader. It must end with news of the user, and not before.

    Yields whether it has ended.
    """
    port = server.http_port
    body = json.dumps({"auth": {"type": "m.login.dummy"}, "password": unused("of")})
    made = json.loads(raw_request(port, "POST", f"{CLIENT}/register", body=body.encode()).body)
    token = {"Authorization": f"Bearer {made['access_token']}"}
    since = json.loads(server.get(f"{CLIENT}/sync", token).body)["next_batch"]
    polling = HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    with contextlib.closing(polling):
        polling.request("GET", f"{CLIENT}/sync?timeout=600000&since={since}", headers=token)
        yield lambda: bool(select.select([polling.sock], [], [], 0)[0])
        data = json.dumps({"key": "value"}).encode()
        path = f"{CLIENT}/user/{made['user_id']}/account_data/test"
        assert raw_request(port, "PUT", path, token, body=data).status == 200
        response = polling.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["account_data"]["events"][0]["type"] == "test"


def test_writers_change_without_two_lists_alive_at_once(server: Server) -> None:
    since = server.log.mark()
    asyncio.run(write_meanwhile(server))
    assert {"event_persister1", "event_persister2", "event_persister3"} <= processes(server)
    assert len(views(server, "writers", since)) == 1, "the list has changed"


def test_other_lists_change_without_two_alive_at_once(server: Server) -> None:
    for workers in (
        f"{BASE}, receipts, federation_sender:2, pusher:2",
        f"{BASE}, receipts:2, federation_sender:3, pusher",
    ):
        since = server.log.mark()
        with asking(server) as found:
            answer = apply(server, workers)
        assert answer.returncode == 0, answer.stderr
        assert set(found) == {"401"}
        for of in READERS:
            assert len(views(server, of, since)) == 1, of


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


# The processes that read each list, by the beginnings of their names.
READERS = {"writers": "", "senders": "main|federation_sender", "pushers": "pusher"}


def views(server: Server, of: str, since: int = 0) -> set[str]:
    """Return the digests of the list that processes worked with, of those started since a mark.

    Fails where two lists were alive at once, at any time.
    """
    alive: dict[str, str] = {}
    found: set[str] = set()
    read = 0
    for line in server.log.text().splitlines(keepends=True):
        read += len(line.encode())
        if started := re.match(rf"(\w+) \| lists: .*\b{of} (\w{{12}})\b", line):
            name, digest = started.groups()
            if not re.match(READERS[of], name):
                continue
            alive[name] = digest
            assert len(set(alive.values())) == 1, f"two lists at {line}"
            if read > since:
                found.add(digest)
        elif "supervisord started" in line:
            alive = {}
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
    since = server.log.mark()
    with asking(server) as found:
        wait_until("the first responses", lambda: found["401"] > 20)
        answer = apply(server, MORE_WRITERS)
    (server.run / "sockets" / "event_persister3.sock" / "taken").rmdir()
    (server.run / "sockets" / "event_persister3.sock").rmdir()
    assert answer.returncode == 1
    assert "event_persister3 did not get ready" in answer.stderr
    assert set(found) == {"401"}
    assert "event_persister3" not in processes(server)
    assert len(views(server, "writers", since)) == 2, "there and back"
    assert server.ganglion("ready").returncode == 0


def test_an_interrupted_command_leaves_no_half(server: Server) -> None:
    command = launch(server, MORE_WRITERS, "stop")
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate()
    # It may have been done before the signal came.
    outcome = (command.returncode, "the supervisor goes on" in errors)
    assert outcome in ((130, True), (0, False))
    # Another command does not disturb the change: tests/unit/supervisor/test_changing.py.
    wait_until("the new layout", lambda: "APPLIED" in server.ganglion("status").stdout)
    assert "event_persister3" in ready(server)
    assert server.ganglion("ready").returncode == 0


def test_a_full_disk_changes_nothing(server: Server) -> None:
    before = pids(server)
    full = subprocess.run(
        [*GANGLION, "apply", MORE_READERS],
        env=server.environment,
        cwd=server.root,
        capture_output=True,
        text=True,
        check=False,
        # No file may have a byte.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert full.returncode == 2, full.stderr
    assert "cannot be written: File too large" in full.stderr
    assert pids(server) == before
    assert not list(server.run.glob("*conf.*"))
    assert not list(server.data.glob("*applied*"))


@pytest.mark.parametrize("step", ["stop", "start"])
def test_a_killed_supervisor_leaves_no_half(server: Server, step: str) -> None:
    command = launch(server, MORE_WRITERS, step)
    server.kill()
    command.communicate()
    server.start()
    found = processes(server)
    applied = (server.data / "applied.json").exists()
    assert ("event_persister3" in found) is applied
    assert len(found) == (7 if applied else 6)
    conf = (server.run / "conf" / "synapse" / "overrides.yaml").read_text()
    assert ("event_persister3" in conf) is applied


def launch(server: Server, workers: str, step: str) -> subprocess.Popen[str]:
    """Start `apply`, and return it once the supervisor has taken the step."""
    since = server.log.mark()
    command = subprocess.Popen(
        [*GANGLION, "apply", workers],
        env=server.environment,
        cwd=server.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    server.log.wait_for(rf"change of the layout: {step} ?", since)
    return command


def ready(server: Server) -> set[str]:
    return {item["name"] for item in server.status() if item["state"] == "RUNNING"}


def test_another_change_or_restart_meanwhile_is_refused(server: Server) -> None:
    before = pids(server)
    with (server.run / "restart.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = apply(server, MORE_READERS)
        restart = server.ganglion("restart", "main")
    assert (second.returncode, restart.returncode) == (2, 2)
    assert "is held by another restart or apply" in second.stderr
    assert "is held by another restart or apply" in restart.stderr
    assert pids(server) == before


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
        assert processes(server) == {"main", "control"}
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
    _, errors = command.communicate()
    assert command.returncode == 0, errors
    wait_until("all", lambda: {"event_creator1", "synchrotron2"} <= ready(server))


def test_the_same_value_is_recorded_without_a_step(server: Server) -> None:
    before = pids(server)
    answer = apply(server, BASE)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("WORKERS in force: "), "no step comes before"
    assert {**pids(server), "layout": 0} == {**before, "layout": 0}
    assert json.loads((server.data / "applied.json").read_text())["workers"] == BASE
