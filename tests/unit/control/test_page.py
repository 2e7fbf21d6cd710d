"""The facts behind the status page, and its files."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ganglion.control.metrics.request_log import LIMITS, RequestLog, Times
from ganglion.control.page import chosen, database, files
from ganglion.control.page.history import MOST_EVENTS, POINTS, History
from ganglion.control.page.status import status
from ganglion.control.page.traffic import WINDOW, Marks, percentile
from ganglion.control.programs import ProgramState, States
from tests.plans import topology_of
from tests.unit_pages import sight_of

PAGE = Path(files.__file__).parent
HOSTILE = '<img src=x onerror="alert(1)">\u202e\x00\u2028</script>'


def program(name: str, starts: int = 1, *, ready: bool = True, end: str = "") -> ProgramState:
    return ProgramState(
        name=name, state="RUNNING" if ready else "BACKOFF", ready=ready, pid=0, age=None,
        starts=starts, given_up=False, ended=None, end=end,
    )  # fmt: skip


def states(*programs: ProgramState) -> States:
    return States(programs={item.name: item for item in programs}, start={})


def test_rates_are_those_of_the_last_minute(tmp_path: Path) -> None:
    topology = topology_of("synchrotron")
    path = tmp_path / "requests"
    one = f"sync 200 0.02 {topology.having('synchrotron')[0].http}\n"
    path.write_text(one * 1000)
    log = RequestLog(str(path))
    marks = Marks(log)
    for second in range(0, 181, 10):
        log.collect(topology)
        marks.note(float(second))
        with path.open("a") as file:
            file.write(one * 20 + "main 502 0.0 -\n" * 10)
    routes, workers, total = marks.rates()
    assert routes["sync"].requests == pytest.approx(2.0)
    assert workers["synchrotron1"].requests == pytest.approx(2.0)
    assert (workers["synchrotron1"].failed, routes["main"].failed) == (0.0, 1.0)
    assert total.requests == pytest.approx(3.0)
    assert routes["sync"].median == pytest.approx(0.0175)
    # However often a page asks, few marks are kept.
    for tick in range(1000):
        marks.note(200.0 + tick / 10)
    assert len(marks._marks) <= WINDOW / 5 + 2


def test_nothing_is_known_at_first(tmp_path: Path) -> None:
    marks = Marks(RequestLog(str(tmp_path / "missing")))
    assert marks.rates()[2].median is None
    marks.note(1.0)
    marks.note(1.0)
    assert marks.rates()[2].requests == 0


@pytest.mark.parametrize(
    ("seconds", "part", "expected"),
    [((0.02, 0.02), 0.5, 0.0175), ((0.001,) * 99 + (20.0,), 0.99, 0.005),
     ((1000.0,), 0.5, LIMITS[-1]), ((), 0.5, None)],
)  # fmt: skip
def test_a_percentile_is_within_its_limits(
    seconds: tuple[float, ...], part: float, expected: float | None
) -> None:
    times = Times()
    for each in seconds:
        times.add(each, 1)
    found = percentile(times.counts, part)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_the_last_hour_is_bounded() -> None:
    history = History()
    for index in range(10 * POINTS):
        history.add(30.0 * index, {"requests": index / 3, **({"late": 1} if index > 1190 else {})})
        history.look(float(index), states(program("w", starts=index + 1, end=HOSTILE)), None)
    shown = history.shown()
    assert len(shown["times"]) == len(shown["series"]["requests"]) == POINTS
    assert shown["series"]["late"][0] is None
    assert shown["series"]["late"][-1] == 1
    assert len(history.events) == MOST_EVENTS


def test_restarts_and_changes_are_noted() -> None:
    history = History()
    history.look(1.0, states(program("w"), program("x")), "ready")
    assert not history.events
    history.look(2.0, states(program("w", ready=False), program("x")), "degraded")
    history.look(3.0, states(program("w", starts=3, end="killed by SIGKILL")), "ready")
    assert [(event.at, event.name, event.text) for event in history.events] == [
        (2.0, "w", "is not ready: backoff"),
        (2.0, "server", "degraded"),
        (3.0, "w", "started 2 times after: killed by SIGKILL"),
        (3.0, "w", "is ready"),
        (3.0, "x", "was removed"),
        (3.0, "server", "ready"),
    ]


@pytest.mark.parametrize(
    ("progress", "newest", "expected"),
    [
        ({"target_min_stream_id_inclusive": 0, "max_stream_id_exclusive": 25}, 100, 0.75),
        ({"target_min_stream_id_inclusive": 0, "max_stream_id_exclusive": 500}, 100, 0.0),
        ({"target_min_stream_id_inclusive": 100, "max_stream_id_exclusive": 1}, 100, None),
        ({"target_min_stream_id_inclusive": "0", "max_stream_id_exclusive": 5}, 100, None),
        ({"target_min_stream_id_inclusive": 0, "max_stream_id_exclusive": 5}, None, None),
        ({}, 100, None),
    ],
)
def test_the_part_of_an_update_that_is_done(
    progress: dict[str, Any], newest: int | None, expected: float | None
) -> None:
    assert database.done(progress, newest) == expected


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '{"rows_inserted": true}', '"x"'])
def test_any_progress_can_be_shown(text: str) -> None:
    assert database._update(HOSTILE, text, 5).rows is None


def test_the_chosen_series_are_read() -> None:
    found = chosen.read(
        'synapse_storage_stream_current_position{server_name="a}b",stream_name="events"} 5.0\n'
        'synapse_storage_stream_current_position{stream_name="events",instance_name="w2"} 7.0\n'
        'synapse_threadpool_working_threads{name="database-master",server_name="x"} 2.0\n'
        'synapse_threadpool_working_threads{name="default",server_name="x"} 9.0\n'
        'synapse_threadpool_max_threads{name="database-master",server_name="x"} 10.0\n'
        'ganglion_process_memory_bytes{kind="private"} 1e+06\n'
        "synapse_threadpool_max_threads 3\n"
        "synapse_threadpool_max_threads{broken} 3\n"
    )
    assert found.positions["events"] == 7.0
    assert (found.connections, found.most, found.memory) == (2.0, 10.0, {"private": 1e6})


def test_a_page_without_any_answer_is_a_page(tmp_path: Path) -> None:
    sight = sight_of(tmp_path)
    problems = sight.look()
    assert set(problems) == {"supervisor", "budget", "postgres", "updates", "destinations",
                             "media", "redis"}  # fmt: skip
    found = json.loads(json.dumps(status(sight, problems)))
    assert found["processes"] == []
    assert [group["name"] for group in found["groups"]] == ["main"]
    sight.note()
    assert len(sight.history.shown()["times"]) == 1


@pytest.mark.parametrize(
    ("layout", "health", "series"), [("pusher", 8.0, 10.0), ("pusher:39", 14.0, 20.0)]
)
def test_many_processes_are_asked_more_rarely(
    tmp_path: Path, layout: str, health: float, series: float
) -> None:
    sight = sight_of(tmp_path)
    # The topology has main too.
    sight.watched = replace(sight.watched, topology=lambda: topology_of(layout))
    sight.look()
    assert (sight.health.every, sight.chosen.every) == (health, series)


def test_the_page_is_small_and_asks_nobody_else() -> None:
    texts = {path.name: path.read_text() for path in PAGE.iterdir() if path.suffix[1:] in
             ("html", "css", "js", "svg")}  # fmt: skip
    assert set(texts) == set(files.KINDS)
    assert sum(len(text.encode()) for text in texts.values()) <= 150_000
    for name, text in texts.items():
        addresses = set(re.findall(r"(?:https?:)?//[\w.]+", text))
        assert addresses <= {"http://www.w3.org"}, name
    # Names of others are set as text, and the policy forbids styles and scripts in the page.
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", texts["status.js"]
    )
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", texts["status.html"])
    assert "unsafe" not in files.POLICY
    assert "*" not in files.POLICY


def contrast(one: str, other: str) -> float:
    """Return WCAG's contrast of two colours: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

    def luminance(colour: str) -> float:
        digits = colour if len(colour) == 6 else "".join(digit * 2 for digit in colour)
        parts = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_has_contrast(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", (PAGE / "status.css").read_text(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): #([0-9a-f]{3,6})", block))
    for text, grounds in {
        "text": ("ground", "box", "good-ground", "warn-ground", "bad-ground"),
        "dim": ("ground", "box"),
        "good": ("ground", "box"),
        "warn": ("ground", "box"),
        "bad": ("ground", "box"),
        "accent": ("ground",),
    }.items():
        for ground in grounds:
            assert contrast(colours[text], colours[ground]) >= 4.5, f"{text} on {ground}"
