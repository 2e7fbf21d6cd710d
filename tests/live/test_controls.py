"""The test controls, on real processes."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controls import AS_JSON, LONGEST_DELAY, WORKER, ControlledServer, User, texts
from tests.harness import Server, wait_until
from tests.matrix import CLIENT
from tests.processes import stat_fields
from tests.raw_http import raw_request

# A process that sends an event through another process, its writer, answers only when replication
# has brought the event back. So the writer here is also the event creator.
WORKERS = "writer=event_persister+event_creator, synchrotron, client_reader, stream_writers, pusher"
WRITER, SYNC, READER = "writer1", "synchrotron1", "client_reader1"
ROUNDS = 12
# In seconds: a limit far above the time needed, so that a failure ends.
SOON = 60


@pytest.fixture(scope="module")
def server() -> Iterator[ControlledServer]:
    # These tests are about reads that come before replication.
    with ControlledServer(WORKERS, {"GANGLION_CONSISTENT": "no"}) as found:
        found.start()
        yield found
        found.stop()


@pytest.fixture(autouse=True)
def _as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Undo what a test did to the processes."""
    yield
    if "server" in request.fixturenames:
        found: ControlledServer = request.getfixturevalue("server")
        found.control("/test/reset")


def test_users_are_created_with_tokens_and_can_log_in(server: ControlledServer) -> None:
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
    # Later users get the next numbers.
    more = server.users(2, prefix="crowd", password="known to all")
    assert [user.localpart for user in more] == ["crowd13", "crowd14"]
    assert {user.password for user in more} == {"known to all"}
    (admin,) = server.users(1, prefix="chief", admin=True)
    listing = "/_synapse/admin/v2/users"
    assert admin.call("GET", listing)["total"] == 15
    users[0].call("GET", listing, expect=403)


def conversation(server: ControlledServer) -> tuple[User, str, str]:
    """A user alone in a room, and the path of some account data, both known to all processes."""
    (alice,) = server.users(1)
    room = alice.create_room()
    kind = alice.account_data("org.example")
    alice.call("PUT", kind, {"number": -1})
    server.barrier()
    assert alice.call("GET", kind, at=READER) == {"number": -1}
    return alice, room, kind


def test_a_reader_with_a_delay_misses_writes_until_the_delay_ends(
    server: ControlledServer,
) -> None:
    alice, room, kind = conversation(server)
    since = alice.sync(at=SYNC)["next_batch"]
    server.control("/test/replication/delay", milliseconds=LONGEST_DELAY)
    alice.send(room, "sent")
    alice.call("PUT", kind, {"number": 0})
    assert texts(alice.sync(f"{since}&set_presence=offline", at=SYNC), room) == []
    assert alice.call("GET", kind, at=READER) == {"number": -1}
    # The waiting messages are handled at once.
    server.control("/test/replication/delay", milliseconds=0)
    server.barrier()
    # With another timeout, because Synapse caches the answer to an equal request.
    assert texts(alice.sync(f"{since}&timeout=1", at=SYNC), room) == ["sent"]
    assert alice.call("GET", kind, at=READER) == {"number": 0}


def test_no_reader_misses_a_write_before_a_barrier(server: ControlledServer) -> None:
    alice, room, kind = conversation(server)
    server.control("/test/replication/delay", milliseconds=300)
    since = alice.sync(at=SYNC)["next_batch"]
    for number in range(ROUNDS):
        alice.send(room, f"early{number}")
        alice.call("PUT", kind, {"number": number})
        alice.send(room, f"late{number}")
        positions = server.barrier()
        seen = alice.sync(since, at=SYNC)
        assert texts(seen, room) == [f"early{number}", f"late{number}"]
        since = seen["next_batch"]
        assert alice.call("GET", kind, at=READER) == {"number": number}
        assert positions["events"].keys() == {WRITER}


def test_a_barrier_that_times_out_names_the_processes_behind(server: ControlledServer) -> None:
    alice, room, _ = conversation(server)
    server.control("/test/replication/delay", milliseconds=LONGEST_DELAY)
    alice.send(room, "late")
    answer = server.ask("/test/barrier", {"timeout": 5})
    assert answer.status == 504
    assert re.search(r"synchrotron1 has not seen events of writer1 up to \d+", str(answer))
    # The waiting messages are handled at once: this barrier has less time than their delay.
    server.control("/test/replication/delay", milliseconds=0)
    server.barrier()
    server.control(f"/test/workers/{SYNC}/pause")
    answer = server.ask("/test/barrier", {"timeout": 5})
    assert (answer.status, answer.json()) == (
        504,
        {"error": "synchrotron1 did not respond within 5.0 s; if it is paused, resume it"},
    )


def test_a_paused_process_answers_after_it_is_resumed(server: ControlledServer) -> None:
    (alice,) = server.users(1)
    whoami = f"{CLIENT}/account/whoami"
    pid = server.pid(READER)
    server.control(f"/test/workers/{READER}/pause")
    wait_until("stopped process", lambda: stat_fields(pid)[0] == "T", SOON)
    with alice.asking(whoami, at=READER) as waiting:
        alice.call("GET", whoami, at="main")
        assert not waiting.is_answered
        assert stat_fields(pid)[0] == "T"
        server.control(f"/test/workers/{READER}/resume")
        assert waiting.answer()["user_id"] == alice.user_id
    assert server.pid(READER) == pid


def test_a_slow_process_answers_later(server: ControlledServer) -> None:
    (alice,) = server.users(1)
    whoami = f"{CLIENT}/account/whoami"
    server.control(f"/test/workers/{READER}/slow", milliseconds=500)
    began = time.monotonic()
    alice.call("GET", whoami, at=READER)
    # A little less, because Synapse's clock is another one.
    assert time.monotonic() - began > 0.49
    server.control(f"/test/workers/{READER}/slow", milliseconds=LONGEST_DELAY)
    with alice.asking(whoami, at=READER) as waiting:
        # Other processes are not slow, and this one is not taken for dead.
        alice.call("GET", whoami, at="main")
        assert server.ganglion("ready").returncode == 0
        assert not waiting.is_answered
        server.control(f"/test/workers/{READER}/slow", milliseconds=0)
        alice.call("GET", whoami, at=READER)


def test_a_killed_process_restarts_however_often(server: ControlledServer) -> None:
    """These kills are not counted as failures, which would stop the whole server."""
    for _ in range(8):
        before = server.pid(READER)
        server.control(f"/test/workers/{READER}/kill")
        assert not Path(f"/proc/{before}").exists()
        wait_until("restart", lambda old=before: server.pid(READER) not in (0, old), SOON)  # type: ignore[misc]
        wait_until("ready server", lambda: server.ganglion("ready").returncode == 0, SOON)
    assert server.running


def test_a_restart_returns_when_the_process_is_ready(server: ControlledServer) -> None:
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


def test_a_header_names_the_process(server: ControlledServer) -> None:
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
        ("/test/reset", {"hard": True}, 400, "unknown field 'hard'; send no body"),
        ("/test/users", {"count": "3"}, 400, 'from 1 to 10000; write {"count": N}'),
        ("/test/users", {"number": 3}, 400, "unknown field 'number'; write count, prefix"),
        ("/test/users", {"count": 1, "prefix": "A B"}, 400, "User ID can only contain"),
        ("/test/users", {"count": 1, "admin": "yes"}, 400, 'write {"admin": true}'),
        ("/test/users", [], 400, "the body is not a JSON object"),
        ("/test/barrier", {"timeout": -1}, 400, "timeout must be a number of seconds above 0"),
        ("/test/workers/nobody1/kill", None, 404, "unknown worker 'nobody1'; use one of main, "),
        ("/test/workers/main/slow", None, 400, "milliseconds must be a whole number"),
        ("/test/workers/main/stab", None, 404, "unknown path /test/workers/main/stab; use "),
        ("/test/replication/delay", {"milliseconds": 1e9}, 400, "a whole number from 0 to 60000"),
        ("/test/nothing", None, 404, "unknown path /test/nothing; use /test/reset, "),
    ],
)
def test_an_impossible_request_is_answered_with_the_reason_and_the_fix(
    server: ControlledServer, path: str, body: object, status: int, error: str
) -> None:
    answer = server.ask(path, body)
    assert answer.status == status
    assert error in answer.json()["error"]
    assert server.ask("/test/reset", method="GET").status == 405
    assert raw_request(server.control_port, "POST", "/test/reset", AS_JSON, b"{oops").status == 400
    assert server.ask("/metrics/main").status == 404


def test_the_command_line_does_the_same(server: ControlledServer) -> None:
    def said(*words: str) -> str:
        done = server.ganglion("test", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    users = json.loads(said("users", "2", "--prefix", "cli", "--admin", "--json"))["users"]
    assert [user["localpart"] for user in users] == ["cli1", "cli2"]
    assert re.fullmatch(
        r"all processes caught up after [\d.]+ s\n", said("barrier", "--timeout", "50")
    )
    assert said("worker", READER, "slow", "1") == f"{READER}: slow\n"
    assert said("worker", READER, "restart") == f"{READER}: restart\n"
    assert said("replication-delay", "5") == "replication is delayed by 5 ms\n"
    assert said("reset").startswith("reset in ")
    wrong = server.ganglion("test", "worker", "nobody1", "pause")
    assert wrong.returncode == 2
    assert "unknown worker 'nobody1'; use one of main, writer1" in wrong.stderr


def test_a_server_with_paused_processes_stops_without_killing_them() -> None:
    with ControlledServer("client_reader, pusher") as server:
        server.start()
        for name in server.names:
            server.control(f"/test/workers/{name}/pause")
        mark = server.log.mark()
        server.stop()
        assert "SIGKILL" not in server.log.text(mark)


@pytest.mark.parametrize("reactor", ["no", "yes"])
def test_processes_that_are_not_forked_have_test_controls_too(reactor: str) -> None:
    variables = {
        "GANGLION_CONSISTENT": "no",
        "GANGLION_PREFORK": "no",
        "SYNAPSE_ASYNC_IO_REACTOR": reactor,
    }
    with ControlledServer("event_persister, synchrotron, client_reader", variables) as server:
        server.start()
        server.users(1)
        server.control("/test/reset")
        alice, room, kind = conversation(server)
        since = alice.sync(at=SYNC)["next_batch"]
        server.control("/test/replication/delay", milliseconds=LONGEST_DELAY)
        alice.call("PUT", kind, {"number": 7})
        assert alice.call("GET", kind, at=READER) == {"number": -1}
        server.control("/test/replication/delay", milliseconds=0)
        server.control("/test/replication/delay", milliseconds=300)
        alice.send(room, "seen")
        server.barrier()
        assert texts(alice.sync(since, at=SYNC), room) == ["seen"]
        assert alice.call("GET", kind, at=READER) == {"number": 7}
        server.control(f"/test/workers/{READER}/restart")
        server.control(f"/test/workers/{READER}/kill")
        server.stop()


def test_there_are_no_test_controls_in_production() -> None:
    with Server("client_reader") as server:
        server.start()
        port = server.control_port
        wait_until(
            "the control application", lambda: raw_request(port, "GET", "/live").status == 200
        )
        assert raw_request(port, "POST", "/test/reset").status == 404
        # The header changes nothing.
        for name in ("main", "nobody1"):
            answer = server.get(f"{CLIENT}/account/whoami?mark={name}", {WORKER: name})
            assert answer.status == 401
            assert server.log.wait_for(rf"^(\S+) \| .*whoami\?mark={name} ")[1] == READER
        assert not list(server.run.rglob("*.test.sock"))
        assert not (server.run / "processes.sock").exists()
        assert {row["name"] for row in server.status()} == {
            "main", "client_reader1", "nginx", "postgres", "redis", "control"
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
