"""Starting, stopping, failing and coming back."""

import asyncio
import itertools
import os
import pwd
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException

import pytest

from tests.flows import still_there, whole_flow
from tests.harness import SHARED_SECRET, Server, wait_until
from tests.matrix import CLIENT, Clients
from tests.raw_http import Answer, raw_request

pytestmark = pytest.mark.both_modes

# How long clients go on asking after a worker was killed: longer than its restart.
ASK_ON = 2.0


def test_data_outlive_every_kind_of_stop_and_change_of_workers() -> None:
    """One event persister becomes two becomes none; the second stop is a power cut."""
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
    """See that processes ended as they must: nobody is asked for what has gone already."""
    ended = re.findall(r"stopped: ([\w+-]+) \(", log)
    assert workers < set(ended)
    expected = ["nginx", "worker", "main", "redis", "postgres"]
    kinds = [name if name in expected else "worker" for name in ended]
    assert [kind for i, kind in enumerate(kinds) if kinds[:i][-1:] != [kind]] == expected


def test_role_named_like_the_owner_of_the_cluster_and_a_new_password() -> None:
    """initdb makes a role for its account; a password that a variable changes is the new one."""
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


def test_second_server_over_the_same_data_is_refused(small: Server) -> None:
    answer = small.ganglion("run", GANGLION_RUN=f"{small.root}/other")
    assert answer.returncode == 2
    assert str(small.data) in answer.stderr
    assert small.ganglion("ready").returncode == 0


def test_killed_worker_comes_back_and_no_client_notices(small: Server) -> None:
    outlive_a_kill(small, "client1", stand_in="main")


def outlive_a_kill(server: Server, worker: str, stand_in: str) -> None:
    """Kill a worker that reads and sends are for, and see that no client gets an error.

    The stand-in answers meanwhile: reads, and sends too, for a PUT may be repeated.
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
        wait_until("first answers", lambda: len(reads) > 10 and len(sends) > 10, within=10)
        mark = server.log.mark()
        os.kill(before, signal.SIGKILL)
        server.log.wait_for(f"{worker} is ready", mark, within=30)
        time.sleep(ASK_ON)
    assert server.pid(worker) != before
    for answers in (reads, sends):
        assert not [answer for answer in answers if answer.status != 200]
    answered = {r.process for r in server.log.requests(mark) if "/whoami" in r.uri}
    # nginx gives the worker its work back as soon as it is there.
    assert {worker, stand_in} <= answered


async def a_room(server: Server) -> tuple[str, str]:
    """The token of a new user, and a room to send to."""
    async with Clients(server.base_url) as clients:
        session = await clients.register("steady")
        made = await session.call("POST", f"{CLIENT}/createRoom", {})
        return str(session.nio.access_token), str(made["room_id"])


@contextmanager
def asking(ask: Callable[[], Answer]) -> Iterator[list[Answer]]:
    """Ask again and again, in a thread; the list of what was answered grows meanwhile."""
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


def test_process_that_cannot_be_kept_up_ends_the_server() -> None:
    with Server("client_reader", operator_file="modules: [{module: nowhere.Nothing}]\n") as server:
        server.launch()
        assert server.process is not None
        assert server.process.wait(timeout=90) not in (0, 2)
        log = server.log.text()
        assert re.search(r"^main \| .*nowhere", log, re.MULTILINE)
        assert "main keeps failing" in log


def test_stop_while_starting() -> None:
    with Server("small") as server:
        server.launch()
        # The cluster is made, PostgreSQL starts, Synapse has yet to come.
        server.log.wait_for("postgres", within=30)
        server.stop()
