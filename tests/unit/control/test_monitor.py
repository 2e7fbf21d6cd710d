"""Rounds of questions, those that hang, and lag from repeated looks."""

import contextlib
import io
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ganglion.control.asking import Asking, Probe
from ganglion.control.config import Watched
from ganglion.control.lag import LONGEST, Lags, worst
from ganglion.control.monitor import EVERY, KEPT, RARELY, Monitor
from ganglion.control.probes import redis_protocol
from ganglion.control.probes.redis_protocol import Refused
from ganglion.control.verdict import Word
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology
from tests.harness import wait_until
from tests.plans import settings, topology_of


def test_a_process_is_behind_since_another_was_further() -> None:
    lags = Lags()
    assert lags.look({"main": {"events": 5}, "pusher1": {"events": 5}}, 0.0) == {
        "main": {"events": 0.0},
        "pusher1": {"events": 0.0},
    }
    # It may get there in the next moment.
    assert lags.look({"main": {"events": 7}, "pusher1": {"events": 5}}, 4.0)["pusher1"] == {
        "events": 0.0
    }
    assert lags.look({"main": {"events": 9}, "pusher1": {"events": 5}}, 8.0)["pusher1"] == {
        "events": 4.0
    }
    # It has reached the first of these, and is behind since the second.
    assert lags.look({"main": {"events": 9}, "pusher1": {"events": 7}}, 12.0)["pusher1"] == {
        "events": 4.0
    }
    assert lags.look({"main": {"events": 9}, "pusher1": {"events": 9}}, 16.0)["pusher1"] == {
        "events": 0.0
    }


def test_a_stream_that_stands_still_everywhere_is_no_lag() -> None:
    lags = Lags()
    for now in range(0, 100, 4):
        found = lags.look({"main": {"events": 5}, "pusher1": {"events": 5}}, float(now))
        assert found["pusher1"] == {"events": 0.0}


def test_a_process_that_never_follows_is_behind_by_the_longest() -> None:
    lags = Lags()
    for now in range(0, 2000, 4):
        positions = {"main": {"events": float(now)}, "pusher1": {"events": -1.0}}
        found = lags.look(positions, float(now))
    assert found["pusher1"]["events"] == pytest.approx(LONGEST, abs=4)


def test_a_process_that_has_just_started_is_behind_since_then() -> None:
    """A number that was taken and not used is nowhere in the database."""
    lags = Lags()
    everywhere = {"main": {"events": 9, "pushers": 5}, "pusher1": {"events": 9, "pushers": 5}}
    lags.look(everywhere, 1000.0)
    lags.look(everywhere, 1100.0)
    # Its predecessor hung meanwhile, or was not there.
    lags.look({"main": {"events": 9, "pushers": 5}, "pusher1": {}}, 1104.0)
    started = {"main": {"events": 9, "pushers": 5}, "pusher1": {"events": 9, "pushers": 4}}
    assert lags.look(started, 1108.0)["pusher1"] == {"events": 0.0, "pushers": 0.0}
    assert lags.look(started, 1112.0)["pusher1"] == {"events": 0.0, "pushers": 4.0}
    assert lags.look(everywhere, 1116.0)["pusher1"] == {"events": 0.0, "pushers": 0.0}


def test_a_process_that_hung_is_behind_since_others_went_on() -> None:
    lags = Lags()
    lags.look({"main": {"events": 5}, "pusher1": {"events": 5}}, 1000.0)
    lags.look({"main": {"events": 7}, "pusher1": {}}, 1004.0)
    assert lags.look({"main": {"events": 7}, "pusher1": {"events": 5}}, 1034.0)["pusher1"] == {
        "events": 30.0
    }


def test_a_process_without_an_answer_has_no_lag() -> None:
    found = Lags().look({"main": {"events": 5}, "pusher1": {}}, 0.0)
    assert worst(found) == {"main": ("events", 0.0)}


def test_a_position_that_nobody_has_any_more_is_no_goal() -> None:
    """A reset in test mode begins anew, and a position of a transaction that failed is skipped."""
    lags = Lags()
    lags.look({"main": {"events": 90}, "pusher1": {"events": 90}}, 0.0)
    assert lags.look({"main": {"events": 2}, "pusher1": {"events": 2}}, 4.0) == {
        "main": {"events": 0.0},
        "pusher1": {"events": 0.0},
    }


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def answers(asking: Asking) -> dict[str, str | None]:
    return {name: item.problem for name, item in asking.found().items()}


def test_a_probe_that_hangs_holds_up_nobody_and_is_not_asked_twice() -> None:
    clock, free, asked = Clock(), threading.Event(), []
    asking = Asking(clock=clock)

    def hangs() -> None:
        asked.append(1)
        free.wait(60)

    probes = {"nfs": hangs, "good": lambda: None, "bad": lambda: "is full"}
    for _ in range(2):
        asking.begin(probes)
        wait_until("answers", lambda: answers(asking) == {"good": None, "bad": "is full"})
    clock.now += 6.0
    assert answers(asking)["nfs"] == "does not answer: nothing within 6 s"
    # The others go on.
    asking.begin({**probes, "bad": lambda: None})
    wait_until("an end of the fault", lambda: answers(asking)["bad"] is None)
    assert len(asked) == 1
    free.set()
    # Once it has ended, it is asked again.
    wait_until("a late answer", lambda: answers(asking)["nfs"] is None)
    asking.begin({"nfs": lambda: "is gone"})
    wait_until("a new answer", lambda: answers(asking) == {"nfs": "is gone"})


def test_the_beginning_of_a_fault_is_kept_as_long_as_it_lasts() -> None:
    clock = Clock()
    asking = Asking(clock=clock)
    since = []
    for problem in (None, "is full", "is full: 1 MB", None):
        clock.now += 10
        asking.begin({"disk": partial(str, problem) if problem else lambda: None})
        wait_until("an answer", lambda: asking.found(clock.now))
        since.append(asking.found()["disk"].since)
    assert since == [1010.0, 1020.0, 1020.0, 1040.0]


def test_nobody_waits_for_a_probe_that_has_hung_before() -> None:
    clock, free = Clock(), threading.Event()
    asking = Asking(clock=clock)

    def hangs() -> None:
        free.wait(60)

    probes = {"nfs": hangs, "good": lambda: None}
    asking.begin(probes)
    clock.now += 100
    asking.begin(probes)
    asking.wait(clock.now)
    assert set(asking.found(clock.now)) == {"nfs", "good"}
    free.set()


def test_answers_of_long_ago_are_not_given() -> None:
    clock = Clock()
    asking = Asking(clock=clock)
    asking.begin({"disk": lambda: None})
    asking.wait(clock.now)
    assert asking.found(clock.now)
    clock.now += 100
    assert not asking.found(clock.now)


def test_a_probe_that_raises_is_a_problem_of_its_part() -> None:
    def fails() -> None:
        raise KeyError("x")

    asking = Asking()
    asking.begin({"odd": fails})
    wait_until("an answer", lambda: answers(asking) == {"odd": "cannot be asked: KeyError: 'x'"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"+PONG\r\n", "PONG"),
        (b":12\r\n", 12),
        (b"$3\r\na\r\n\r\n", "a\r\n"),
        (b"$-1\r\n", None),
        (b"*2\r\n$4\r\nname\r\n:3\r\n", ["name", 3]),
    ],
)
def test_redis_is_understood(text: bytes, expected: object) -> None:
    assert redis_protocol.reply(io.BytesIO(text)) == expected


@pytest.mark.parametrize(
    "text",
    [b"", b"+PONG", b"HTTP/1.1 400\r\n", b":x\r\n", b"$9999999999\r\n", b":-\r\n", b"?1\r\n"],
)
def test_another_protocol_is_an_error(text: bytes) -> None:
    with pytest.raises(ConnectionError):
        redis_protocol.reply(io.BytesIO(text))


def test_an_error_of_redis_is_told() -> None:
    with pytest.raises(Refused, match="NOAUTH"):
        redis_protocol.reply(io.BytesIO(b"-NOAUTH Authentication required.\r\n"))


class Parts:
    """Stand-ins for the parts of a server, and how often they were asked."""

    def __init__(self) -> None:
        self.rounds = 0
        self.problem: str | None = None

    def __call__(self, _settings: Settings, _topology: Topology) -> dict[str, Probe]:
        self.rounds += 1
        return {"main": lambda: self.problem, "disk": lambda: None}


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Watched]:
    """A server whose supervisor says that all programs run."""
    path = str(tmp_path / "states.sock")
    program = {
        "name": "main", "state": "RUNNING", "ready": True, "pid": 1, "age": 1.0, "starts": 1,
        "given_up": False, "ended": None, "end": "",
    }  # fmt: skip
    text = json.dumps({"programs": [program], "start": {"nginx": 1.0}}).encode()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(text)

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Watched(
            socket="", states=path, level="", token=None, settings=settings(),
            topology=lambda: topology_of("client_reader"),
        )  # fmt: skip
        server.shutdown()


def all_answered() -> bool:
    """Return whether no thread asks a part of the server."""
    return not {"main", "disk", "supervisor"} & {item.name for item in threading.enumerate()}


def test_the_first_answer_is_complete_and_the_next_one_is_kept(told: Watched) -> None:
    clock, parts = Clock(), Parts()
    monitor = Monitor(told, clock, parts)
    assert monitor.snapshot().ready() == (True, "ready: all 3 parts work")
    parts.problem = "does not answer at x"
    assert monitor.snapshot().ready() == (True, "ready: all 3 parts work")
    clock.now += EVERY
    # The next question wakes the thread that asks.
    wait_until("a new state", lambda: not monitor.snapshot().ready()[0])
    found = monitor.snapshot()
    assert found.verdict.word is Word.FAILING
    assert found.verdict.sentence() == "failing: main does not answer at x"


def test_an_answer_after_a_silence_is_a_new_one(told: Watched) -> None:
    clock, parts = Clock(), Parts()
    monitor = Monitor(told, clock, parts)
    assert monitor.snapshot().ready()[0]
    parts.problem = "does not answer at x"
    clock.now += KEPT + 1
    assert monitor.snapshot().verdict.word is Word.FAILING


def test_a_change_of_the_layout_forgets_the_processes_before(told: Watched) -> None:
    layouts = ["client_reader:2"]
    watched = replace(told, topology=lambda: topology_of(layouts[-1]))

    def parts(_: Settings, topology: Topology) -> dict[str, Probe]:
        return {item.name: lambda: "does not answer at x" for item in topology.here}

    monitor = Monitor(watched, Clock(), parts)
    assert set(monitor.snapshot().verdict.problems) == {"main", "client_reader1", "client_reader2"}
    layouts.append("client_reader")
    assert set(monitor.snapshot().verdict.problems) == {"main", "client_reader1"}


def test_nothing_is_asked_while_nobody_asks(told: Watched) -> None:
    clock, parts = Clock(), Parts()
    monitor = Monitor(told, clock, parts)
    monitor.snapshot()
    for _ in range(1000):
        clock.now += 1
        monitor.step()
    assert parts.rounds == 1 + KEPT // RARELY


@pytest.mark.parametrize(
    ("gap", "rounds"),
    [(0.5, 60 / EVERY), (3, 60 / 3), (15, 60 / RARELY), (30, 60 / RARELY)],
)
def test_the_more_often_somebody_asks_the_more_often_all_is_asked(
    told: Watched, gap: float, rounds: float
) -> None:
    clock, parts = Clock(), Parts()
    monitor = Monitor(told, clock, parts)
    for step in range(1, 481):
        clock.now += 0.25
        if step % (gap * 4) == 0:
            monitor.snapshot()
        monitor.step()
        # A part that has not answered yet is asked again sooner.
        while not all_answered():
            time.sleep(0.001)
        if step == 240:
            before = parts.rounds
    assert parts.rounds - before == pytest.approx(rounds, abs=1)
