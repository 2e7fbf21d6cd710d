"""The table of `ganglion status`."""

from dataclasses import replace

from ganglion.cli.status import MB, Table, fitting, with_problems
from ganglion.control.status import ProcessStatus

MAIN = ProcessStatus(
    name="main",
    state="RUNNING",
    pid=7,
    uptime=50,
    description="",
    memory=90 * MB,
    processor=5.0,
    starts=1,
)
LOST = ProcessStatus(
    name="sync1", state="FATAL", pid=0, uptime=0, description="no such file", starts=3
)
TITLES = "PROCESS  STATE    PID  UPTIME  STARTS  MEMORY  CPU     PROBLEM"


def later(processor: float, pid: int = 7) -> ProcessStatus:
    return ProcessStatus(
        name="main", state="RUNNING", pid=pid, uptime=54, description="", processor=processor
    )


def test_the_first_look_shows_the_average_since_the_start() -> None:
    assert Table().format([MAIN, LOST], 100.0).splitlines() == [
        TITLES,
        "main     RUNNING  7    50 s    1       90 MB   10.0 %",
        "sync1    FATAL    -    0 s     3       -       -       no such file",
    ]


def test_the_next_look_shows_the_time_since_the_last() -> None:
    table = Table()
    table.format([MAIN], 100.0)
    assert "  50.0 %" in table.format([later(7.0)], 104.0)
    # A child that has ended takes its time with it.
    assert "  0.0 %" in table.format([later(1.0)], 108.0)


def test_a_process_that_was_replaced_starts_anew() -> None:
    table = Table()
    table.format([MAIN], 100.0)
    assert "  5.0 %" in table.format([later(2.7, pid=8)], 104.0)


def test_a_problem_is_shown_at_its_process_or_in_a_row_of_its_own() -> None:
    problems = {"disk": "is full", "main": "does not answer", "sync1": "is fatal"}
    rows = with_problems([MAIN, LOST], problems)
    assert [(row.name, row.state, row.description) for row in rows] == [
        ("main", "RUNNING", "does not answer"),
        # Its own reason says more.
        ("sync1", "FATAL", "no such file"),
        ("disk", "FAILED", "is full"),
    ]


def test_rows_with_a_problem_are_shown_before_others_if_not_all_fit() -> None:
    workers = [replace(MAIN, name=f"worker{number}") for number in range(9)]
    found = [*workers, LOST]
    assert [item.name for item in fitting(found, 3)] == ["worker0", "worker1", "sync1"]
    assert fitting(found, 10) == found
    assert fitting(found, 0) == []
