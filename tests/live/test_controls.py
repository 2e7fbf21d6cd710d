"""The controls for tests, on real processes."""

import contextlib
import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.controls import WORKER, Controlled, User, texts
from tests.harness import Server, free_port, wait_until
from tests.matrix import CLIENT
from tests.raw_http import raw_request

# Whoever sends an event through another process than its writer is answered only when that process
# has heard of it by replication; so the writer here is its own event creator.
WORKERS = "writer=event_persister+event_creator, synchrotron, client_reader, stream_writers, pusher"
WRITER, SYNC, READER = "writer1", "synchrotron1", "client_reader1"
# In seconds. The goal is one for `small` on an idle machine, and scripts/bench measures it.
RESET_WITHIN = 10.0
ROUNDS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[Controlled]:
    with Controlled(WORKERS) as found:
        found.start()
        yield found
        found.stop()


@pytest.fixture(autouse=True)
def _as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to the processes is over."""
    yield
    if "server" in request.fixturenames:
        found: Controlled = request.getfixturevalue("server")
        found.control("/test/reset")


def test_users_are_made_with_tokens_and_can_log_in(server: Controlled) -> None:
    users = server.users(12, prefix="crowd")
    assert [user.localpart for user in users] == [f"crowd{n}" for n in range(1, 13)]
    assert len({user.access_token for user in users}) == 12
    for user in users[:2]:
        for name in (READER, "main"):
            found = user.call("GET", f"{CLIENT}/account/whoami", at=name)
            assert (found["user_id"], found["device_id"]) == (user.user_id, user.device_id)
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": users[0].localpart},
        "password": users[0].password,
    }
    assert users[1].call("POST", f"{CLIENT}/login", login)["user_id"] == users[0].user_id
    # Further ones go on behind them; a name that somebody else took is left out.
    more = server.users(2, prefix="crowd", password="known to all")
    assert [user.localpart for user in more] == ["crowd13", "crowd14"]
    assert {user.password for user in more} == {"known to all"}
    (admin,) = server.users(1, prefix="chief", admin=True)
    listing = "/_synapse/admin/v2/users"
    assert admin.call("GET", listing)["total"] == 15
    users[0].call("GET", listing, expect=403)


def test_a_reset_leaves_nothing(server: Controlled) -> None:
    alice, bob = server.users(2)
    room = alice.create_room(room_alias_name="lounge", preset="public_chat")
    bob.call("POST", f"{CLIENT}/join/{room}", {})
    for text in ("one", "two"):
        alice.send(room, text)
    bob.call("PUT", bob.account_data("org.example"), {"a": 1})
    media = upload(alice)
    thumbnail = f"/_matrix/client/v1/media/download/{media}"
    alice.call("GET", thumbnail, expect=None)
    assert any(Path(server.data, "media_store").rglob("*"))
    server.control("/test/barrier")
    before = bob.sync(at=SYNC)
    assert texts(before, room) == ["one", "two"]
    keys = server.get("/_matrix/key/v2/server").json()["verify_keys"]
    pids = {row["name"]: row["pid"] for row in server.status()}

    assert server.control("/test/reset")["seconds"] < RESET_WITHIN

    assert server.ganglion("ready").returncode == 0
    after = {row["name"]: row["pid"] for row in server.status()}
    stay = {name for name, pid in after.items() if pids[name] == pid}
    assert stay == {"nginx", "control", "postgres", "redis"}
    assert not [path for path in Path(server.data, "media_store").rglob("*") if path.is_file()]
    for name in server.names:
        if "pusher" not in name and "stream_writers" not in name:
            assert alice.call("GET", f"{CLIENT}/account/whoami", at=name, expect=None) == 401
    assert server.get("/_matrix/key/v2/server").json()["verify_keys"] == keys
    # The names are free again, and streams begin anew.
    alice, carol = server.users(2)
    assert (alice.localpart, carol.localpart) == ("user1", "user2")
    assert alice.call("GET", thumbnail, expect=None) == 404
    assert alice.call("GET", f"{CLIENT}/directory/room/%23lounge:localhost", expect=None) == 404
    assert alice.call("GET", f"{CLIENT}/publicRooms")["chunk"] == []
    fresh = carol.sync(at=SYNC)
    assert "rooms" not in fresh
    assert "org.example" not in json.dumps(fresh)
    room = alice.create_room(room_alias_name="lounge", preset="public_chat")
    carol.call("POST", f"{CLIENT}/join/{room}", {})
    alice.send(room, "three")
    server.control("/test/barrier")
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


def test_requests_meanwhile_are_told_so_and_two_resets_follow_one_another(
    server: Controlled,
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
    wait_until("first answer", lambda: answers, 5)
    with ThreadPoolExecutor() as threads:
        resets = [threads.submit(server.control, "/test/reset") for _ in range(2)]
        assert all(reset.result()["seconds"] < 2 * RESET_WITHIN for reset in resets)
    over.set()
    asking.join()
    assert answers[0].status == 200
    assert answers[-1].status == 401
    statuses = [answer.status for answer in answers]
    assert statuses.count(503) > 10
    # One that was with a process when that was killed.
    assert set(statuses) <= {200, 401, 502, 503}
    assert statuses.count(502) <= 2
    refused = next(answer for answer in answers if answer.status == 503)
    assert refused.json()["errcode"] == "M_UNKNOWN"


def test_without_a_barrier_a_delayed_reader_misses_what_is_written(server: Controlled) -> None:
    """And with one it never does."""
    alice, room, kind = conversation(server)
    server.control("/test/replication/delay", milliseconds=300)
    missed = stale = 0
    since = alice.sync(at=SYNC)["next_batch"]
    for number in range(ROUNDS):
        alice.send(room, f"early{number}")
        missed += texts(alice.sync(since, at=SYNC), room) == []
        alice.call("PUT", kind, {"number": number})
        stale += alice.call("GET", kind, at=READER) != {"number": number}
        alice.send(room, f"late{number}")
        found = server.control("/test/barrier")["streams"]
        # With another timeout, or Synapse would say again what it has said.
        seen = alice.sync(f"{since}&timeout=1", at=SYNC)
        assert texts(seen, room) == [f"early{number}", f"late{number}"]
        since = seen["next_batch"]
        assert alice.call("GET", kind, at=READER) == {"number": number}
        assert found["events"].keys() == {WRITER}
    # All but those of a machine so busy that the delay is over before it asks.
    assert missed > ROUNDS // 2
    assert stale > ROUNDS // 2


def conversation(server: Controlled) -> tuple[User, str, str]:
    """A user alone in a room, and the path of some account data, both known to readers."""
    (alice,) = server.users(1)
    room = alice.create_room()
    kind = alice.account_data("org.example")
    alice.call("PUT", kind, {"number": -1})
    server.control("/test/barrier")
    assert alice.call("GET", kind, at=READER) == {"number": -1}
    return alice, room, kind


def test_a_barrier_names_who_is_behind(server: Controlled) -> None:
    alice, room, _ = conversation(server)
    server.control("/test/replication/delay", milliseconds=30_000)
    alice.send(room, "late")
    answer = server.ask("/test/barrier", {"timeout": 0.5})
    assert answer.status == 504
    assert re.search(r"synchrotron1 has not seen events of writer1 up to \d+", str(answer))
    # What waits is handled at once.
    server.control("/test/replication/delay", milliseconds=0)
    assert server.control("/test/barrier")["seconds"] < 1
    server.control(f"/test/workers/{SYNC}/pause")
    answer = server.ask("/test/barrier", {"timeout": 0.5})
    assert (answer.status, answer.json()) == (
        504,
        {"error": "synchrotron1 does not answer in 0.5 s; is it paused?"},
    )


def test_a_paused_one_answers_later(server: Controlled) -> None:
    (alice,) = server.users(1)
    whoami = f"{CLIENT}/account/whoami"
    server.control(f"/test/workers/{READER}/pause")
    began = time.monotonic()
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(alice.call, "GET", whoami, at=READER)
        alice.call("GET", whoami, at="main")
        time.sleep(0.5)
        assert not answer.done()
        server.control(f"/test/workers/{READER}/resume")
        assert answer.result()["user_id"] == alice.user_id
    assert time.monotonic() - began > 0.5


def test_a_slow_one_answers_that_much_later(server: Controlled) -> None:
    (alice,) = server.users(1)

    def took(at: str) -> float:
        began = time.monotonic()
        alice.call("GET", f"{CLIENT}/account/whoami", at=at)
        return time.monotonic() - began

    assert took(READER) < 0.4
    server.control(f"/test/workers/{READER}/slow", milliseconds=500)
    assert 0.5 <= took(READER) < 1.5
    assert took("main") < 0.4
    # It is not taken for dead.
    assert server.ganglion("ready").returncode == 0
    server.control(f"/test/workers/{READER}/slow", milliseconds=0)
    assert took(READER) < 0.4


def test_a_reset_ends_pauses_and_delays(server: Controlled) -> None:
    server.control("/test/workers/main/slow", milliseconds=5000)
    server.control("/test/replication/delay", milliseconds=20_000)
    server.control(f"/test/workers/{SYNC}/pause")
    assert server.control("/test/reset")["seconds"] < RESET_WITHIN
    began = time.monotonic()
    alice, room, _ = conversation(server)
    alice.send(room, "now")
    server.control("/test/barrier", timeout=3)
    assert texts(alice.sync(at=SYNC), room) == ["now"]
    assert time.monotonic() - began < 4


def test_killed_ones_come_back_however_often(server: Controlled) -> None:
    """Nobody takes it for a failure of theirs, after which the whole server would stop."""
    for _ in range(8):
        before = server.pid(READER)
        server.control(f"/test/workers/{READER}/kill")
        assert not Path(f"/proc/{before}").exists()
        wait_until("another one", lambda old=before: server.pid(READER) not in (0, old), 10)  # type: ignore[misc]
        wait_until("it to be ready", lambda: server.ganglion("ready").returncode == 0, 10)
    assert server.running


def test_a_restart_returns_when_it_is_ready(server: Controlled) -> None:
    (alice,) = server.users(1)
    for name in (READER, WRITER, "main"):
        before = server.pid(name)
        assert server.control(f"/test/workers/{name}/restart") == {
            "worker": name,
            "action": "restart",
        }
        assert server.pid(name) not in (0, before)
        at = READER if name == WRITER else name
        alice.call("GET", f"{CLIENT}/account/whoami", at=at)


def test_a_header_names_the_process(server: Controlled) -> None:
    (alice,) = server.users(1)
    for name in (READER, WRITER, SYNC, "main"):
        alice.call("GET", f"{CLIENT}/account/whoami?mark={name}", at=name)
        logged = server.log.wait_for(rf"^(\S+) \| .*whoami\?mark={name} ")
        assert logged[1] == name
    answer = server.get("/_matrix/client/versions", {WORKER: "nobody1"})
    assert answer.status == 400
    assert answer.json()["error"] == (
        f"X-Ganglion-Worker names no process; choose one of {', '.join(server.names)}"
    )
    admin = server.get("/_synapse/admin/v1/server_version", {WORKER: "nobody1"})
    assert admin.status == 400
    explained = server.ganglion(
        "explain", "GET", "/_matrix/client/v3/sync", "--header", f"{WORKER}: main", "--json"
    )
    assert json.loads(explained.stdout)["worker"] == "main"


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/test/reset", {"hard": True}, 400, "there is no hard here; send no body"),
        ("/test/users", {"count": "3"}, 400, 'write {"count": N} with a whole number'),
        ("/test/users", {"number": 3}, 400, "there is no number here; write count, prefix"),
        ("/test/users", {"count": 1, "prefix": "A B"}, 400, "User ID can only contain"),
        ("/test/users", {"count": 1, "admin": "yes"}, 400, 'write {"admin": true}'),
        ("/test/users", [], 400, "the body is no JSON object"),
        ("/test/barrier", {"timeout": -1}, 400, 'write {"timeout": N} with a number of seconds'),
        ("/test/workers/nobody1/kill", None, 404, "there is no worker nobody1; there are main, "),
        ("/test/workers/main/slow", None, 400, 'write {"milliseconds": N} with a whole number'),
        ("/test/workers/main/stab", None, 404, "there is no /test/workers/main/stab; there are"),
        ("/test/replication/delay", {"milliseconds": 1e9}, 400, "a whole number from 0 to 60000"),
        ("/test/nothing", None, 404, "there is no /test/nothing; there are /test/reset, "),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(
    server: Controlled, path: str, body: object, status: int, error: str
) -> None:
    answer = server.ask(path, body)
    assert answer.status == status
    assert error in answer.json()["error"]
    assert server.ask("/test/reset", method="GET").status == 405
    assert raw_request(server.control_port, "POST", "/test/reset", {}, b"{oops").status == 400
    assert server.ask("/metrics/main").status == 404


def test_the_command_line_does_the_same(server: Controlled) -> None:
    def said(*words: str) -> str:
        done = server.ganglion("test", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    users = json.loads(said("users", "2", "--prefix", "cli", "--admin", "--json"))["users"]
    assert [user["localpart"] for user in users] == ["cli1", "cli2"]
    assert said("barrier").startswith("all processes caught up after 0.")
    assert said("worker", READER, "slow", "1") == f"{READER}: slow\n"
    assert said("worker", READER, "restart") == f"{READER}: restart\n"
    assert said("replication-delay", "5") == "replication is delayed by 5 ms\n"
    assert said("reset").startswith("reset in ")
    wrong = server.ganglion("test", "worker", "nobody1", "pause")
    assert wrong.returncode == 2
    assert "there is no worker nobody1; there are main, writer1" in wrong.stderr


def test_a_server_with_a_paused_process_stops_in_time() -> None:
    with Controlled("client_reader, pusher") as server:
        server.start()
        for name in server.names:
            server.control(f"/test/workers/{name}/pause")
        assert server.stop() < 3


def test_a_reset_that_is_cut_off_leaves_a_server_that_starts() -> None:
    """Stopped in the middle of one; then with another password for the database."""
    with Controlled("client_reader") as server:
        server.start()
        server.users(1)
        server.control("/test/reset")
        for round_, after in enumerate((0.02, 0.1, 0.3)):
            (user,) = server.users(1)
            assert user.localpart == "user1"
            asking = threading.Thread(target=ignoring_its_end, args=(server,))
            asking.start()
            time.sleep(after)
            server.stop()
            asking.join()
            server.environment["POSTGRES_PASSWORD"] = f"another-{round_}"
            server.start()
            server.control("/test/reset")
        server.stop()


def test_a_reset_of_a_server_without_postgresql() -> None:
    with Controlled("none", {"SYNAPSE_COMPLEMENT_DATABASE": "sqlite"}) as server:
        server.start()
        (alice,) = server.users(1)
        room = alice.create_room()
        server.control("/test/reset")
        alice.call("GET", f"{CLIENT}/account/whoami", expect=401)
        (again,) = server.users(1)
        assert again.user_id == alice.user_id
        again.call("GET", f"{CLIENT}/rooms/{room}/state", expect=403)
        server.stop()


def ignoring_its_end(server: Controlled) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.ask("/test/reset")


@pytest.mark.parametrize("reactor", ["no", "yes"])
def test_processes_that_start_afresh_have_them_too(reactor: str) -> None:
    variables = {"GANGLION_PREFORK": "no", "SYNAPSE_ASYNC_IO_REACTOR": reactor}
    with Controlled("event_persister, synchrotron, client_reader", variables) as server:
        server.start()
        server.users(1)
        server.control("/test/reset")
        alice, room, kind = conversation(server)
        since = alice.sync(at=SYNC)["next_batch"]
        server.control("/test/replication/delay", milliseconds=1000)
        alice.call("PUT", kind, {"number": 7})
        assert alice.call("GET", kind, at=READER) == {"number": -1}
        alice.send(room, "seen")
        server.control("/test/barrier")
        assert texts(alice.sync(since, at=SYNC), room) == ["seen"]
        assert alice.call("GET", kind, at=READER) == {"number": 7}
        server.control(f"/test/workers/{READER}/restart")
        server.control(f"/test/workers/{READER}/kill")
        server.stop()


def test_they_are_not_there_in_production() -> None:
    port = free_port()
    with Server("client_reader", {"CONTROL_PORT": str(port)}) as server:
        server.start()
        with pytest.raises(ConnectionRefusedError):
            raw_request(port, "POST", "/test/reset")
        # The header does nothing: the request goes where it goes without.
        for name in ("main", "nobody1"):
            answer = server.get(f"{CLIENT}/account/whoami?mark={name}", {WORKER: name})
            assert answer.status == 401
            assert server.log.wait_for(rf"^(\S+) \| .*whoami\?mark={name} ")[1] == READER
        assert not list(server.run.rglob("*.test.sock"))
        assert not (server.run / "processes.sock").exists()
        assert {row["name"] for row in server.status()} == {
            "main", "client_reader1", "nginx", "postgres", "redis"
        }  # fmt: skip
        refused = server.ganglion("test", "reset")
        assert refused.returncode == 2
        assert refused.stderr == (
            "ganglion: 1 problem\n"
            "GANGLION_TEST_MODE='no': the running server is not in test mode and has no test"
            " controls\n"
            "    fix: start a server without real users with GANGLION_TEST_MODE=yes\n"
        )
        server.stop()
