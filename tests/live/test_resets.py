"""Resets of a server in test mode, on real processes."""

import contextlib
import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.controls import LONGEST_DELAY, ControlledServer, User, texts
from tests.harness import wait_until
from tests.matrix import CLIENT
from tests.raw_http import raw_request

WORKERS = "event_persister+event_creator, synchrotron, client_reader, stream_writers, pusher"
SYNC, READER = "synchrotron1", "client_reader1"
# In seconds: a limit far above the time needed, so that a failure ends.
SOON = 60


@pytest.fixture(scope="module")
def server() -> Iterator[ControlledServer]:
    # Without a prepared database, from which resets are made elsewhere.
    with ControlledServer(WORKERS, fresh=True) as found:
        found.start()
        yield found
        found.stop()


def test_a_reset_leaves_nothing(server: ControlledServer) -> None:
    alice, bob = server.users(2)
    room = alice.create_room(room_alias_name="lounge", preset="public_chat")
    bob.call("POST", f"{CLIENT}/join/{room}", {})
    for text in ("one", "two"):
        alice.send(room, text)
    bob.call("PUT", bob.account_data("org.example"), {"a": 1})
    media = upload(alice)
    download = f"/_matrix/client/v1/media/download/{media}"
    alice.call("GET", download, expect=None)
    assert any(Path(server.data, "media_store").rglob("*"))
    server.barrier()
    before = bob.sync(at=SYNC)
    assert texts(before, room) == ["one", "two"]
    keys = server.get("/_matrix/key/v2/server").json()["verify_keys"]
    pids = {row["name"]: row["pid"] for row in server.status()}

    assert server.control("/test/reset")["seconds"] > 0

    assert server.ganglion("ready").returncode == 0
    after = {row["name"]: row["pid"] for row in server.status()}
    stay = {name for name, pid in after.items() if pids[name] == pid}
    assert stay == {"nginx", "control", "postgres", "redis"}
    assert not [path for path in Path(server.data, "media_store").rglob("*") if path.is_file()]
    for name in server.names:
        if "pusher" not in name and "stream_writers" not in name:
            assert alice.call("GET", f"{CLIENT}/account/whoami", at=name, expect=None) == 401
    assert server.get("/_matrix/key/v2/server").json()["verify_keys"] == keys
    # The names are free again, and streams start from the beginning.
    alice, carol = server.users(2)
    assert (alice.localpart, carol.localpart) == ("user1", "user2")
    assert alice.call("GET", download, expect=None) == 404
    assert alice.call("GET", f"{CLIENT}/directory/room/%23lounge:localhost", expect=None) == 404
    assert alice.call("GET", f"{CLIENT}/publicRooms")["chunk"] == []
    fresh = carol.sync(at=SYNC)
    assert "rooms" not in fresh
    assert "org.example" not in json.dumps(fresh)
    room = alice.create_room(room_alias_name="lounge", preset="public_chat")
    carol.call("POST", f"{CLIENT}/join/{room}", {})
    alice.send(room, "three")
    server.barrier()
    assert texts(carol.sync(fresh["next_batch"], at=SYNC), room) == ["three"]
    assert stream(fresh["next_batch"]) <= stream(before["next_batch"])


def stream(token: str) -> int:
    """The position of the events in a token of /sync: s12_…, or m12~… of several writers."""
    found = re.match(r"[sm](\d+)", token)
    assert found is not None, token
    return int(found[1])


def upload(user: User) -> str:
    answer = raw_request(
        user.server.http_port,
        "POST",
        "/_matrix/media/v3/upload?filename=a.txt",
        {"Authorization": f"Bearer {user.access_token}", "Content-Type": "text/plain"},
        b"some text",
    )
    assert answer.status == 200, answer.body
    return str(answer.json()["content_uri"]).removeprefix("mxc://")


def test_a_reset_answers_503_to_clients_and_a_second_one_follows(
    server: ControlledServer,
) -> None:
    (alice,) = server.users(1)
    header = {"Authorization": f"Bearer {alice.access_token}"}
    over = threading.Event()
    answers = []

    def ask() -> None:
        while not over.is_set():
            answers.append(raw_request(server.http_port, "GET", f"{CLIENT}/account/whoami", header))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_until("first answer", lambda: answers, SOON)
        with ThreadPoolExecutor() as threads:
            resets = [threads.submit(server.control, "/test/reset") for _ in range(2)]
            assert all(reset.result()["seconds"] > 0 for reset in resets)
        wait_until("answer without the user", lambda: answers[-1].status == 401, SOON)
    finally:
        over.set()
        asking.join()
    statuses = [answer.status for answer in answers]
    assert statuses[0] == 200
    # 502 for a request that a process was working on when the reset killed it.
    assert set(statuses) <= {200, 401, 502, 503}
    assert statuses.count(502) <= len(resets)
    refused = next(answer for answer in answers if answer.status == 503)
    assert refused.json()["errcode"] == "M_UNKNOWN"


def test_a_reset_ends_pauses_and_delays(server: ControlledServer) -> None:
    server.control("/test/workers/main/slow", milliseconds=LONGEST_DELAY)
    server.control("/test/replication/delay", milliseconds=LONGEST_DELAY)
    server.control(f"/test/workers/{SYNC}/pause")
    server.control("/test/reset")
    (alice,) = server.users(1)
    # raw_request waits as long as the delay, and no longer.
    alice.call("GET", f"{CLIENT}/account/whoami", at="main")
    room = alice.create_room()
    alice.send(room, "now")
    # Has less time than the delay.
    server.barrier()
    assert texts(alice.sync(at=SYNC), room) == ["now"]


def test_a_reset_that_is_cut_off_leaves_a_server_that_starts() -> None:
    """The server stops in the middle of a reset, then starts with another database password."""
    with ControlledServer("client_reader") as server:
        server.start()
        server.users(1)
        server.control("/test/reset")
        stages: tuple[Callable[[str], bool], ...] = (
            lambda _log: (server.run / "resetting").exists(),
            lambda log: "stopped: client_reader1" in log,
            lambda log: "spawned: 'main'" in log,
        )
        for round_, reached in enumerate(stages):
            (user,) = server.users(1)
            assert user.localpart == "user1"
            mark = server.log.mark()
            asking = threading.Thread(target=reset_and_ignore_its_end, args=(server,))
            asking.start()
            # A stage may be over before it is seen; then the server stops a little later.
            while asking.is_alive() and not reached(server.log.text(mark)):
                time.sleep(0.002)
            server.stop()
            asking.join()
            server.environment["POSTGRES_PASSWORD"] = f"another-{round_}"
            server.start()
            server.control("/test/reset")
        server.stop()


def reset_and_ignore_its_end(server: ControlledServer) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.ask("/test/reset")


def test_a_reset_of_a_server_without_postgresql() -> None:
    with ControlledServer("none", {"SYNAPSE_COMPLEMENT_DATABASE": "sqlite"}) as server:
        server.start()
        (alice,) = server.users(1)
        room = alice.create_room()
        server.control("/test/reset")
        alice.call("GET", f"{CLIENT}/account/whoami", expect=401)
        (again,) = server.users(1)
        assert again.user_id == alice.user_id
        again.call("GET", f"{CLIENT}/rooms/{room}/state", expect=403)
        server.stop()
