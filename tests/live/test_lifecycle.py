"""Start, stop, failure and restart of a server and its processes."""

import asyncio
import itertools
import os
import pwd
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException

import pytest

from tests.flows import still_there, whole_flow
from tests.harness import SHARED_SECRET, Server, wait_until
from tests.matrix import CLIENT, Clients
from tests.raw_http import Answer, raw_request

pytestmark = pytest.mark.both_modes

# In seconds: a limit far above the time needed, so that a failure ends.
SOON = 120


def test_data_outlive_every_kind_of_stop_and_change_of_workers() -> None:
    """One event persister, then two, then none. The second stop is like a power cut."""
    with Server("event_persister, client_reader, media_repository") as server:
        server.start()
        kept = asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
        mark = server.log.mark()
        server.stop()
        stops_in_order(server.log.text(mark), {"event_persister1", "client_reader1"})
        identity = kept_files(server)

        server.environment["WORKERS"] = "event_persister:2, synchrotron:2, stream_writers"
        server.start()
        asyncio.run(still_there(server.base_url, kept))
        asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
        server.kill()

        server.environment["WORKERS"] = "none"
        server.start()
        asyncio.run(still_there(server.base_url, kept))
        assert kept_files(server) == identity


def kept_files(server: Server) -> dict[str, str]:
    """The secrets and the signing key."""
    files = [*(server.data / "secrets").iterdir(), *server.data.glob("*.signing.key")]
    assert len(files) > 3
    return {path.name: path.read_text() for path in files}


def stops_in_order(log: str, workers: set[str]) -> None:
    """Check the order in which processes ended: each before those that it needs."""
    ended = re.findall(r"stopped: ([\w+-]+) \(", log)
    assert workers < set(ended)
    expected = ["nginx", "worker", "main", "redis", "postgres"]
    # The control application stops together with nginx.
    named = [name for name in ended if name != "control"]
    kinds = [name if name in expected else "worker" for name in named]
    assert [kind for i, kind in enumerate(kinds) if kinds[:i][-1:] != [kind]] == expected


def test_role_named_like_the_owner_of_the_cluster_and_a_new_password() -> None:
    """initdb creates a role named after its account. A changed password takes effect."""
    owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with Server("none", {"POSTGRES_USER": owner}) as server:
        server.start()
        server.stop()
        server.environment["POSTGRES_PASSWORD"] = "it's:another\\one"
        server.start()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param(
            {"WORKERS": "synchrotrn, event_creator:-1"}, ("synchrotron", "-1"), id="WORKERS"
        ),
        pytest.param(
            {"HTTP_PORT": "eighty", "SYNAPSE_REPORT_STATS": "perhaps"},
            ("HTTP_PORT", "eighty", "SYNAPSE_REPORT_STATS", "perhaps"),
            id="two at once",
        ),
        pytest.param(
            {"SYNAPSE_SERVERNAME": "example.org"},
            ("SYNAPSE_SERVERNAME", "SYNAPSE_SERVER_NAME"),
            id="misspelt",
        ),
    ],
)
def test_wrong_variable_ends_with_2_and_writes_nothing(
    environment: dict[str, str], says: tuple[str, ...]
) -> None:
    with Server("small") as server:
        before = sorted(server.root.rglob("*"))
        answer = server.ganglion("run", **environment)
        assert answer.returncode == 2
        for word in says:
            assert word in answer.stderr
        assert "Traceback" not in answer.stderr
        assert sorted(server.root.rglob("*")) == before


def test_a_second_server_over_the_same_data_is_rejected(small: Server) -> None:
    answer = small.ganglion("run", GANGLION_RUN=f"{small.root}/other")
    assert answer.returncode == 2
    assert str(small.data) in answer.stderr
    assert small.ganglion("ready").returncode == 0


def test_a_killed_worker_restarts_and_no_client_notices(small: Server) -> None:
    outlive_a_kill(small, "client1")


def outlive_a_kill(server: Server, worker: str) -> None:
    """Kill a worker that serves reads and sends, and check that no client gets an error.

    New requests wait for its successor. nginx repeats those under way, as it may
    with a PUT.
    """
    token, room = asyncio.run(a_room(server))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    numbers = itertools.count()

    def read() -> Answer:
        return raw_request(server.http_port, "GET", f"{CLIENT}/account/whoami", headers)

    def send() -> Answer:
        path = f"{CLIENT}/rooms/{room}/send/m.room.message/{next(numbers)}"
        body = b'{"msgtype": "m.text", "body": "still there?"}'
        return raw_request(server.http_port, "PUT", path, headers, body)

    before = server.pid(worker)
    with asking(read) as reads, asking(send) as sends:
        wait_until("first answers", lambda: reads and sends, SOON)
        mark = server.log.mark()
        os.kill(before, signal.SIGKILL)
        server.log.wait_for(f"{worker} is ready", mark, within=SOON)
        # nginx lets the worker serve again soon after its restart.
        ready = server.log.mark()
        wait_until("read by the new process", lambda: worker in readers(server, ready), SOON)
        answered = len(sends)
        wait_until("later send", lambda: len(sends) > answered, SOON)
    assert server.pid(worker) != before
    for answers in (reads, sends):
        assert not [answer for answer in answers if answer.status != 200]


def readers(server: Server, since: int) -> set[str]:
    """The processes that have answered reads since a mark of the log."""
    return {r.process for r in server.log.requests(since) if "/whoami" in r.uri}


async def a_room(server: Server) -> tuple[str, str]:
    """Return the token of a new user, and a room to send to."""
    async with Clients(server.base_url) as clients:
        session = await clients.register("steady")
        made = await session.call("POST", f"{CLIENT}/createRoom", {})
        return str(session.nio.access_token), str(made["room_id"])


@contextmanager
def asking(ask: Callable[[], Answer]) -> Iterator[list[Answer]]:
    """Send requests one after the other in a thread. Yields the growing list of answers."""
    answers: list[Answer] = []
    enough = threading.Event()

    def ask_on() -> None:
        while not enough.is_set():
            try:
                answers.append(ask())
            except (OSError, HTTPException) as error:
                answers.append(Answer(status=0, headers={}, body=repr(error).encode()))

    thread = threading.Thread(target=ask_on)
    thread.start()
    try:
        yield answers
    finally:
        enough.set()
        thread.join()


def test_a_process_that_keeps_failing_ends_the_server() -> None:
    with Server("client_reader", operator_file="modules: [{module: nowhere.Nothing}]\n") as server:
        server.launch()
        assert server.process is not None
        assert server.process.wait(timeout=2 * SOON) not in (0, 2)
        log = server.log.text()
        assert re.search(r"^main \| .*nowhere", log, re.MULTILINE)
        assert "main keeps failing" in log


def test_stop_while_starting() -> None:
    with Server("small") as server:
        server.launch()
        # PostgreSQL starts on a new cluster. Synapse starts later.
        server.log.wait_for("postgres", within=SOON)
        server.stop()
