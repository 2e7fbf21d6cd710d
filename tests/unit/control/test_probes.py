"""The judgements of the probes, and probes of servers that are not there or hang."""

import socket
import time
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest
from psycopg2 import errors

from ganglion.control.health import streams
from ganglion.control.probes import database, http, machine
from ganglion.control.probes.machine import MB, Disk, judge_clock, judge_disk
from ganglion.control.probes.replication import read, standing
from ganglion.topology.topology import Address
from tests.plans import settings, topology_of


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Disk(free=10**9, files=10**6, read_only=False), None),
        (Disk(free=10**9, files=None, read_only=False), None),
        (Disk(free=63 * MB, files=10**6, read_only=False), "is full: 63 MB are free"),
        (Disk(free=10**9, files=99, read_only=False), "is full: 99 more files fit"),
        (Disk(free=10**9, files=10**6, read_only=True), "is read-only"),
    ],
)
def test_a_disk_without_room_is_a_problem(found: Disk, expected: str | None) -> None:
    assert judge_disk(found) == expected


@pytest.mark.parametrize(
    ("ahead", "age", "expected"),
    [
        (None, None, None),
        (59.0, 0.0, None),
        (-59.0, -59.0, None),
        (61.0, None, "is 61 s ahead of PostgreSQL's"),
        (-3600.0, None, "is 3600 s behind PostgreSQL's"),
        (0.0, -120.0, "was set back by at least 120 s since the last start"),
    ],
)
def test_a_clock_that_another_contradicts_is_a_problem(
    ahead: float | None, age: float | None, expected: str | None
) -> None:
    assert judge_clock(ahead, age) == expected


def test_a_data_directory_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    given = settings(GANGLION_DATA=f"{tmp_path}/gone")
    assert machine.disk(given) == (
        f"cannot be looked at: No such file or directory: {tmp_path}/gone"
    )


def test_a_postgres_that_is_not_there_is_a_problem_without_libpqs_question(
    short_path: Path,
) -> None:
    found = database.read_and_write(settings(GANGLION_RUN=f"{short_path}"), 60)
    assert found.problem is not None
    assert found.problem.endswith("failed: No such file or directory")


def test_a_process_that_accepts_and_never_answers_is_a_problem(short_path: Path) -> None:
    path = f"{short_path}/x.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        found = http.health(Address(path=path), timeout=0.1)
    assert found == f"does not answer at unix:{path}: timed out"


def test_the_pools_are_those_of_the_configuration_in_force() -> None:
    conf = """
        location = /.ganglion/health/main {
        location = /.ganglion/error {
        location = /.ganglion/health/synchrotron.user {
        location = /.ganglion/health/main {
    """
    assert http.pools_of(conf) == (
        ("main", "/.ganglion/health/main"),
        ("synchrotron.user", "/.ganglion/health/synchrotron.user"),
    )


def test_a_position_counts_against_those_of_a_second_before() -> None:
    before = {"main": {"events": 10.0, "caches": 3.0}, "sync1": {"events": 9.0, "caches": 3.0}}
    after = {"main": {"events": 12.0, "caches": 3.0}, "sync1": {"events": 10.0, "caches": 3.0}}
    # It lags, and moves.
    assert standing(before, after) == {}
    assert standing(before, before) == {"sync1": ("events",)}
    # A process that does not answer is the business of another check.
    assert standing(before, {**after, "sync1": {}}) == {}


def test_positions_are_read_from_metrics() -> None:
    text = (
        "# TYPE synapse_storage_stream_current_position gauge\n"
        'synapse_storage_stream_current_position{server_name="x",stream_name="events"} 1.0\n'
        'synapse_storage_stream_current_position{stream_name="receipts"} 2.5e+06\n'
        'synapse_storage_stream_current_position{stream_name="caches"} 3.0\n'
        'synapse_other{stream_name="typing"} 7.0\n'
    )
    # Nothing waits for a position in `caches`.
    assert read(text) == {"events": 1.0, "receipts": 2.5e06}


def test_streams_of_a_server_without_answers_are_nobodys_lag() -> None:
    assert streams(topology_of("pusher"), 0.0) is None


class FakeConnection:
    """An asynchronous connection that runs one statement after the other, or fails at one."""

    def __init__(self, failing: int, error: Exception) -> None:
        self.failing, self.error = failing, error
        self.done = 0

    def cursor(self) -> "FakeConnection":
        return self

    def execute(self, _statement: str) -> None:
        self.done += 1

    def poll(self) -> int:
        if self.done == self.failing:
            raise self.error
        return int(psycopg2.extensions.POLL_OK)

    def fetchall(self) -> list[tuple[int, str, float]]:
        return [(1, "off", time.time())]


@pytest.mark.parametrize(
    ("failing", "error", "expected"),
    [
        (3, psycopg2.OperationalError(), None),
        (2, errors.InsufficientPrivilege("permission denied"), None),
        (2, errors.UndefinedFunction("no such function"), None),
        (1, errors.InsufficientPrivilege("permission denied"), "cannot be read"),
        (2, errors.DiskFull("no space\nHINT: more"), "cannot be read and written: no space"),
    ],
)
def test_a_role_that_may_not_write_so_is_no_fault(
    failing: int, error: Exception, expected: str | None
) -> None:
    assert database.ask(FakeConnection(failing, error), time.monotonic() + 60).problem == expected
