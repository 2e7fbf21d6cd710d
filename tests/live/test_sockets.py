"""Listening sockets outlive their processes: requests wait for the next, and none is refused."""

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.harness import Server, wait_until
from tests.matrix import CLIENT, Clients
from tests.processes import identity
from tests.raw_http import refuses, unix_request

WHOAMI = f"{CLIENT}/account/whoami"
# One for each thing that a request may need; receipts have one writer, whose place nobody takes.
LAYOUT = "client_reader, event_persister, receipts"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(LAYOUT) as started:
        started.environment["GANGLION_TEST_MODE"] = "yes"
        started.start()
        yield started


@contextlib.contextmanager
def asking(server: Server) -> Iterator[Counter[str]]:
    """Ask on a new connection each time, without a pause. Counts statuses and errors."""
    found: Counter[str] = Counter()
    done = threading.Event()
    host, port = server.base_url.removeprefix("http://").split(":")

    def ask() -> None:
        while not done.is_set():
            connection = HTTPConnection(host, int(port), timeout=30)
            try:
                connection.request("GET", WHOAMI)
                found[str(connection.getresponse().status)] += 1
            except OSError as error:
                found[type(error).__name__] += 1
            finally:
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_killed_proxy_refuses_nobody(server: Server) -> None:
    before = server.pid("nginx")
    with asking(server) as found:
        wait_until("the first responses", lambda: found["401"] > 20)
        os.kill(before, signal.SIGKILL)
        server.wait_replaced("nginx", before)
        since = found["401"]
        wait_until("further responses", lambda: found["401"] > since + 20)
    # Requests in flight are lost: at most one of each client. None is refused.
    lost = sum(number for what, number in found.items() if what != "401")
    assert lost <= 2
    assert not found["ConnectionRefusedError"]


@pytest.mark.parametrize("name", ["main", "event_persister1", "receipts1"])
def test_connections_wait_for_the_next_process(server: Server, name: str) -> None:
    """Straight after a kill the socket accepts, and the request is answered by the next process."""
    before = server.pid(name)
    _kill(before)
    path = server.run / "sockets" / f"{name}.sock"
    assert unix_request(path, "GET", "/health").status == 200
    assert server.pid(name) != before


def test_a_process_that_does_not_come_back_soon_refuses(server: Server) -> None:
    """Its second end in a short time makes it wait. Its pool is asked meanwhile."""
    name = "client_reader1"
    for _ in range(5):
        before = server.pid(name)
        _kill(before)
        if refuses(server.run / "sockets" / f"{name}.sock"):
            break
        server.wait_replaced(name, before)
    else:
        pytest.fail("its socket is kept however often it ends")
    assert server.get(WHOAMI).status == 401
    server.wait_replaced(name, before)


def test_a_restart_of_all_fails_no_request(server: Server) -> None:
    """Nor does it cut a long poll: that ends early and empty."""
    before = {item["name"]: item["pid"] for item in server.status()}
    with asking(server) as found:
        wait_until("the first responses", lambda: found["401"] > 20)
        answer = server.ganglion("restart", "--all", "--json")
        assert answer.returncode == 0, answer.stderr
    assert set(found) == {"401"}
    restarted = list(json.loads(answer.stdout)["restarted"])
    assert restarted == ["client_reader1", "event_persister1", "receipts1", "main"]
    after = {item["name"]: item["pid"] for item in server.status()}
    assert {name for name in after if after[name] != before[name]} == set(restarted)


def test_writes_are_finished_and_long_polls_end_early(server: Server) -> None:
    asyncio.run(write_and_wait(server))


async def write_and_wait(server: Server) -> None:
    """Restart processes meanwhile. The proxy sends no POST again, so each that fails is seen."""
    async with Clients(server.base_url) as clients:
        alice, bob = await clients.register("alice"), await clients.register("bob")
        room_id = (await alice.call("POST", f"{CLIENT}/createRoom", {}))["room_id"]
        await bob.sync()
        done = asyncio.Event()

        async def write() -> int:
            number = 0
            while not done.is_set():
                number += 1
                body = {"msgtype": "m.text", "body": f"{number}"}
                await alice.call("POST", f"{CLIENT}/rooms/{room_id}/send/m.room.message", body)
            return number

        writing = asyncio.create_task(write())
        waiting = asyncio.create_task(bob.sync(wait=120.0))
        for name in ("event_persister1", "main"):
            answer = await asyncio.to_thread(server.ganglion, "restart", name)
            assert answer.returncode == 0, answer.stderr
            assert answer.stdout.startswith(f"{name} is ready again after ")
        done.set()
        assert await writing > 0
        assert (await asyncio.wait_for(waiting, 60.0))["next_batch"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nginx", "mian"], "mian"),
        ([], "is missing"),
        (["main", "--all"], "exclude each other"),
    ],
)
def test_wrong_names_restart_nothing(server: Server, words: list[str], problem: str) -> None:
    before = server.status()
    answer = server.ganglion("restart", *words)
    assert (answer.returncode, problem in answer.stderr) == (2, True), answer.stderr
    assert [item["pid"] for item in server.status()] == [item["pid"] for item in before]


def test_a_configuration_that_synapse_rejects_restarts_nothing(server: Server) -> None:
    before = server.pid("main")
    file = server.data / "homeserver.d" / "00-tests.yaml"
    right = file.read_text()
    file.write_text(f"{right}max_event_delay_duration: soon\n")
    try:
        answer = server.ganglion("restart", "main")
    finally:
        file.write_text(right)
    assert answer.returncode == 1
    assert "nothing was restarted" in answer.stderr
    assert server.pid("main") == before


def test_a_process_that_does_not_start_comes_back_as_it_was(server: Server) -> None:
    """Synapse accepts this module when it reads its configuration, and fails when it starts."""
    before = {item["name"]: item["pid"] for item in server.status()}
    file = server.data / "homeserver.d" / "00-tests.yaml"
    right = file.read_text()
    file.write_text(f"{right}spam_checker: {{module: collections.OrderedDict, config: {{}}}}\n")
    try:
        answer = server.ganglion("restart", "client_reader1", "receipts1", "main")
        assert answer.returncode == 1
        assert "client_reader1 does not start with its changed configuration" in answer.stderr
        assert "receipts1, main left alone" in answer.stderr
        after = {item["name"]: item["pid"] for item in server.status()}
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {"client_reader1"}
        assert unix_request(server.run / "sockets" / "client_reader1.sock", "GET", WHOAMI).status
        # It keeps it, whatever ends it.
        _kill(after["client_reader1"])
        server.wait_replaced("client_reader1", after["client_reader1"])
        # Main would take the whole server along.
        answer = server.ganglion("restart", "main")
        assert (answer.returncode, "main does not start" in answer.stderr) == (1, True)
        assert server.get(WHOAMI).status == 401
    finally:
        file.write_text(right)
    answer = server.ganglion("restart", "client_reader1", "main")
    assert answer.returncode == 0, answer.stderr


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until("its end", lambda: not identity(pid))
