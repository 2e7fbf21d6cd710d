"""The barrier, over real sockets with fake agents behind them."""

import contextlib
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ganglion.control.refusal import Refusal
from ganglion.control.test.barrier import barrier
from tests.plans import control_config

# In seconds: far longer than any response takes.
PLENTY = 60


class FakeAgent:
    """Responds at an agent's socket, and keeps the requests."""

    def __init__(self, path: str, written: Mapping[str, int]) -> None:
        self.written = written
        self.asked: list[Any] = []
        # The responses to `await`, in order; `late` is the response after them.
        self.missing: list[Any] = []
        self.late: Any = {}
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        # accept() fails once close() has shut the socket down.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, connection.makefile("rb") as stream:
                    request = json.loads(stream.readline())
                    self.asked.append(request)
                    connection.sendall(json.dumps(self._answer(request)).encode() + b"\n")

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["do"] == "written":
            return {"streams": self.written}
        if request["do"] == "await":
            return {"missing": self.missing.pop(0) if self.missing else self.late}
        return {}

    @property
    def verbs(self) -> list[str]:
        return [request["do"] for request in self.asked]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def short_run() -> Iterator[Path]:
    """A run directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    (path / "sockets").mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def agents(short_run: Path) -> Iterator[dict[str, FakeAgent]]:
    sockets = control_config(short_run).agents
    written: dict[str, dict[str, int]] = {"main": {"events": 7, "typing": 0}, "pusher1": {"c": 3}}
    made = {name: FakeAgent(path, written[name]) for name, path in sockets.items()}
    yield made
    for agent in made.values():
        agent.close()


def test_a_barrier_awaits_the_positions_of_all_writers_in_all_processes(
    short_run: Path, agents: dict[str, FakeAgent]
) -> None:
    answer = barrier(control_config(short_run), {"timeout": PLENTY})
    expected = {"events": {"main": 7}, "typing": {"main": 0}, "c": {"pusher1": 3}}
    assert answer["streams"] == expected
    for agent in agents.values():
        assert agent.verbs == ["written", "await"]
        assert agent.asked[1]["streams"] == expected


def test_writers_of_missing_positions_announce_them_again(
    short_run: Path, agents: dict[str, FakeAgent]
) -> None:
    agents["pusher1"].missing = [{"events": {"main": 7}}]
    barrier(control_config(short_run), {"timeout": PLENTY})
    assert agents["main"].verbs == ["written", "await", "announce", "await"]
    assert agents["pusher1"].verbs == ["written", "await", "await"]


def test_a_barrier_that_times_out_names_the_missing_positions(
    short_run: Path, agents: dict[str, FakeAgent]
) -> None:
    agents["pusher1"].late = {"events": {"main": 7}}
    # The start; the check after the first wait; the check after the second one.
    times = iter([0.0, 10.0, PLENTY + 1.0])
    with pytest.raises(Refusal) as caught:
        barrier(control_config(short_run), {"timeout": PLENTY}, lambda: next(times))
    assert caught.value.status == 504
    assert caught.value.message == (
        "not every process caught up within 60 s: pusher1 has not seen events of main up to 7"
    )
    # The second wait had the rest of the time.
    assert [request["seconds"] for request in agents["pusher1"].asked[1:]] == [0.1, 50.0]
