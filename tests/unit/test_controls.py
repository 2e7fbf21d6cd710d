"""The control application, and what the agent in a process works out, without any process."""

import io
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ganglion.control.application import Application, Controls
from ganglion.control.refusal import Refusal
from ganglion.control.test.barrier import barrier
from ganglion.control.test.place import Place
from ganglion.control.test.processes import Processes
from ganglion.in_synapse.test_agent.positions import Positions
from ganglion.plan import render
from tests.plans import plan


@dataclass(slots=True)
class FakeResets:
    """Counts, or fails."""

    error: Exception | None = None
    done: int = 0

    def reset(self) -> float:
        if self.error is not None:
            raise self.error
        self.done += 1
        return 0.12345


@dataclass(slots=True)
class Reply:
    """What an application answered."""

    status: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


def place(run: Path | str = "/run/ganglion", workers: str = "pusher") -> Place:
    files = render(
        plan({"WORKERS": workers, "GANGLION_RUN": str(run), "GANGLION_TEST_MODE": "yes"})
    )
    (text,) = (file.content for file in files if file.path == "control.json")
    return Place.load(text)


def call(resets: Any, path: str, body: bytes = b"", method: str = "POST") -> Reply:
    here = place()
    application = Application(Controls(place=here, processes=Processes(here), resets=resets))
    reply = Reply()

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        reply.status, reply.headers = status, dict(headers)

    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(body)}
    content = b"".join(application(environ, start))
    assert reply.headers["Content-Length"] == str(len(content))
    reply.body = json.loads(content)
    return reply


def test_the_place_is_what_was_rendered() -> None:
    found = place()
    assert found.socket == "/run/ganglion/sockets/control.sock"
    assert dict(found.agents) == {
        "main": "/run/ganglion/sockets/main.test.sock",
        "pusher1": "/run/ganglion/sockets/pusher1.test.sock",
    }
    assert found.database.administrator == "postgres"
    assert found.media == "/data/media_store"


def test_a_reset_is_answered_with_its_seconds() -> None:
    resets = FakeResets()
    for body in (b"", b"{}", b" \n"):
        reply = call(resets, "/test/reset", body)
        assert (reply.status, reply.body) == ("200 OK", {"seconds": 0.123})
    assert resets.done == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/test/reset", b"", "405 Method Not Allowed", "send it with POST: curl -X POST"),
        ("POST", "/test/reset", b"{", "400 Bad Request", "the body is not JSON: "),
        ("POST", "/test/reset", b"[1]", "400 Bad Request", "the body is no JSON object; write"),
        ("POST", "/test/reset", b'{"x": 1}', "400 Bad Request", "there is no x here; send no body"),
        ("POST", "/test/resets", b"", "404 Not Found", "there is no /test/resets; there are"),
        ("POST", "/test/workers/a/b/kill", b"", "404 Not Found", "/test/workers/name/action, "),
        ("POST", "/test/workers/x1/kill", b"", "404 Not Found", "there are main, pusher1"),
        ("POST", "/test/workers/x1/slow", b'{"milliseconds": 1}', "404 Not Found", "are main, "),
        ("POST", "/test/workers/main/slow", b'{"milliseconds": true}', "400 Bad Request", "whole"),
        ("POST", "/test/workers/main/slow", b'{"milliseconds": -1}', "400 Bad Request", "0 to 600"),
        ("POST", "/test/users", b'{"count": 0}', "400 Bad Request", "from 1 to 10000"),
        ("POST", "/test/users", b'{"prefix": ""}', "400 Bad Request", 'write {"prefix": "'),
        ("POST", "/test/barrier", b'{"timeout": "1"}', "400 Bad Request", "of seconds up to 600"),
        # Nobody is there: the processes are not.
        ("POST", "/test/workers/main/kill", b"", "409 Conflict", "the supervisor does not run"),
        ("POST", "/test/users", b"", "409 Conflict", "main does not run at the moment"),
    ],
)
def test_what_cannot_be_is_said(
    method: str, path: str, body: bytes, status: str, error: str
) -> None:
    reply = call(FakeResets(), path, body, method)
    assert reply.status == status
    assert error in reply.body["error"]
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers.get("Allow") == ("POST" if "405" in status else None)


def test_a_failure_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    reply = call(FakeResets(error=Refusal(409, "somebody is connected")), "/test/reset")
    assert (reply.status, reply.body) == ("409 Conflict", {"error": "somebody is connected"})
    reply = call(FakeResets(error=OSError("no room")), "/test/reset")
    assert reply.status == "500 Internal Server Error"
    assert reply.body == {"error": "OSError: no room"}
    assert "Traceback" in capsys.readouterr().err


class FakeAgent:
    """Answers at an agent's socket, and remembers what it was asked."""

    def __init__(self, path: str, written: Mapping[str, int]) -> None:
        self.written = written
        self.asked: list[Any] = []
        self.missing: list[Any] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as stream:
                request = json.loads(stream.readline())
                self.asked.append(request)
                answer: dict[str, Any] = {}
                if request["do"] == "written":
                    answer = {"streams": self.written}
                if request["do"] == "await":
                    answer = {"missing": self.missing.pop(0) if self.missing else {}}
                connection.sendall(json.dumps(answer).encode() + b"\n")

    @property
    def verbs(self) -> list[str]:
        return [request["do"] for request in self.asked]


@pytest.fixture
def agents(short_run: Path) -> dict[str, FakeAgent]:
    sockets = place(short_run).agents
    written: dict[str, dict[str, int]] = {"main": {"events": 7, "typing": 0}, "pusher1": {"c": 3}}
    return {name: FakeAgent(path, written[name]) for name, path in sockets.items()}


@pytest.fixture
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = Path("/tmp") / tmp_path_factory.mktemp("run").name  # noqa: S108 - a socket's is short
    path = path.with_name(f"{path.name}-{threading.get_native_id()}")
    (path / "sockets").mkdir(parents=True)
    yield path
    for entry in (path / "sockets").iterdir():
        entry.unlink()
    (path / "sockets").rmdir()
    path.rmdir()


def test_a_barrier_asks_all_for_what_all_have_written(
    short_run: Path, agents: dict[str, FakeAgent]
) -> None:
    answer = barrier(place(short_run), {})
    expected = {"events": {"main": 7}, "typing": {"main": 0}, "c": {"pusher1": 3}}
    assert answer["streams"] == expected
    for agent in agents.values():
        assert agent.verbs == ["written", "await"]
        assert agent.asked[1]["streams"] == expected


def test_a_barrier_has_writers_say_again_where_they_are(
    short_run: Path, agents: dict[str, FakeAgent]
) -> None:
    agents["pusher1"].missing = [{"events": {"main": 7}}]
    barrier(place(short_run), {"timeout": 5})
    assert agents["main"].verbs == ["written", "await", "announce", "await"]
    assert agents["pusher1"].verbs == ["written", "await", "await"]


def test_a_barrier_ends_with_who_is_behind(short_run: Path, agents: dict[str, FakeAgent]) -> None:
    agents["pusher1"].missing = [{"events": {"main": 7}}] * 1000
    with pytest.raises(Refusal) as caught:
        barrier(place(short_run), {"timeout": 0.05})
    assert caught.value.status == 504
    assert caught.value.message == ("not in 0.05 s: pusher1 has not seen events of main up to 7")


class FakeStream:
    """A stream with a reader's notion of its writers."""

    def __init__(self, name: str, seen: Mapping[str, int]) -> None:
        self.NAME = name
        self.seen = dict(seen)

    def current_token(self, writer: str) -> int:
        return self.seen.get(writer, 0)

    def minimal_local_current_token(self) -> int:
        return self.seen["reader1"]


def positions(streams: list[FakeStream], handle: Any = None, **store: Any) -> tuple[Any, Any]:
    """Positions in reader1, and its handler of what arrives."""

    async def nothing(*_: object) -> None:
        """Take it in."""

    data = SimpleNamespace(on_rdata=handle or nothing)
    commands = SimpleNamespace(
        get_streams=lambda: {stream.NAME: stream for stream in streams},
        get_streams_to_replicate=lambda: streams,
    )
    hs = SimpleNamespace(
        get_instance_name=lambda: "reader1",
        get_replication_command_handler=lambda: commands,
        get_replication_data_handler=lambda: data,
        get_datastores=lambda: SimpleNamespace(main=SimpleNamespace(**store)),
    )
    return Positions(hs), data


def test_what_is_missing_is_what_others_wrote_and_is_not_seen() -> None:
    made, _ = positions([FakeStream("receipts", {"master": 5, "other1": 9, "reader1": 3})])
    assert made.written() == {"receipts": 3}
    wanted = {"receipts": {"main": 6, "other1": 9, "reader1": 99}}
    assert made.missing(wanted) == {"receipts": {"main": 6}}
    assert made.missing({"receipts": {"main": 5}}) == {}


def test_what_was_written_ahead_of_something_unfinished_counts() -> None:
    """The position stands at 4, as 5 is being written; 6 was written and answered already."""
    generator = SimpleNamespace(_lock=threading.Lock(), _finished_ids={6})
    made, _ = positions([FakeStream("events", {"reader1": 4})], _stream_id_gen=generator)
    assert made.written() == {"events": 6}


def test_what_is_being_taken_in_is_not_seen_yet() -> None:
    stream = FakeStream("typing", {})
    looks = []

    async def handle(_stream: str, writer: str, token: int, _rows: object) -> None:
        stream.seen[writer] = token
        looks.append((made.missing({"typing": {"main": 7}}), made.missing({"typing": {"main": 6}})))

    made, data = positions([stream], handle)
    with pytest.raises(StopIteration):
        data.on_rdata("typing", "master", 7, []).send(None)
    assert looks == [({"typing": {"main": 7}}, {})]
    assert made.missing({"typing": {"main": 7}}) == {}


def test_a_stream_without_a_position_of_its_own_is_seen_when_it_was_handled() -> None:
    """As the federation stream in those who read it."""
    made, data = positions([FakeStream("federation", {})])
    assert made.missing({"federation": {"main": 2}}) == {"federation": {"main": 2}}
    with pytest.raises(StopIteration):
        data.on_rdata("federation", "master", 2, []).send(None)
    assert made.missing({"federation": {"main": 2}}) == {}
