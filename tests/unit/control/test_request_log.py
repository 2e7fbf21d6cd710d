"""nginx's requests, counted from its file."""

from pathlib import Path

import pytest

from ganglion.control.metrics.request_log import MOST, PIECE, RequestLog
from ganglion.topology.topology import Topology
from tests.plans import topology_of


@pytest.fixture(scope="module")
def topology() -> Topology:
    return topology_of("synchrotron:2, client_reader")


def line(route: str, status: int, seconds: str, *addresses: str) -> str:
    return f"{route} {status} {seconds} {', '.join(addresses) or '-'}\n"


def log_of(tmp_path: Path, text: str) -> RequestLog:
    (tmp_path / "requests").write_text(text)
    return RequestLog(str(tmp_path / "requests"))


def test_requests_are_counted_by_route_worker_and_status(
    tmp_path: Path, topology: Topology
) -> None:
    first, second = (str(item.http) for item in topology.having("synchrotron"))
    log = log_of(
        tmp_path,
        line("sync", 200, "30.005", first) * 3
        + line("sync", 200, "0.001", second)
        # It refused the connection, so another one answered.
        + line("sync", 200, "0.002", first, second)
        + line("sync", 502, "0.000", f"{first} : {second}")
        + line("sync", 200, "0.004", "10.1.1.1:8008")
        # nginx answered itself, and a pool had no free place.
        + line("main", 204, "0.000")
        + line("initial_sync", 429, "0.000", "initial_synchrotron"),
    )
    log.collect(topology)
    assert log.requests() == {
        ("sync", "synchrotron1", "200"): 3,
        ("sync", "synchrotron2", "200"): 2,
        ("sync", "synchrotron2", "502"): 1,
        ("sync", "elsewhere", "200"): 1,
        ("main", "none", "204"): 1,
        ("initial_sync", "none", "429"): 1,
    }
    times = log.times()["sync", "synchrotron1"]
    assert times.total == pytest.approx(90.015)
    assert times.counts[-2] == sum(times.counts) == 3


def test_a_file_is_counted_once_however_it_grows(tmp_path: Path, topology: Topology) -> None:
    whole = line("main", 200, "0.001", str(topology.main.http)) * 50
    log = log_of(tmp_path, "")
    path = tmp_path / "requests"
    for end in range(0, len(whole) + 7, 7):
        with path.open("a") as file:
            file.write(whole[max(0, end - 7) : end])
        log.collect(topology)
    assert sum(log.requests().values()) == 50


def test_a_large_file_is_emptied_and_goes_on(tmp_path: Path, topology: Topology) -> None:
    one = line("main", 200, "0.001", str(topology.main.http))
    number = MOST // len(one) + 2
    log = log_of(tmp_path, one * number)
    log.relieve(topology)
    path = tmp_path / "requests"
    assert path.stat().st_size == 0
    with path.open("a") as file:
        file.write(one)
    log.collect(topology)
    assert log.requests() == {("main", "main", "200"): number + 1}


def test_a_small_file_waits_for_a_question(tmp_path: Path, topology: Topology) -> None:
    one = line("main", 200, "0.001", str(topology.main.http))
    log = log_of(tmp_path, one)
    log.relieve(topology)
    assert log.requests() == {}
    (tmp_path / "requests").write_text(one * (PIECE // len(one) + 1))
    log.relieve(topology)
    assert sum(log.requests().values()) > 1


def test_a_file_that_another_has_emptied_is_read_from_its_start(
    tmp_path: Path, topology: Topology
) -> None:
    one = line("main", 200, "0.001", str(topology.main.http))
    log = log_of(tmp_path, one * 3)
    log.collect(topology)
    (tmp_path / "requests").write_text(one)
    log.collect(topology)
    assert sum(log.requests().values()) == 4


@pytest.mark.parametrize(
    "broken", ["\n", "main\n", "main 200 x -\n", "main 200 0.\udcff1 -\n", "\x00" * 500 + "\n"]
)
def test_a_broken_line_costs_no_other(tmp_path: Path, topology: Topology, broken: str) -> None:
    good = line("main", 200, "0.001", str(topology.main.http))
    (tmp_path / "requests").write_bytes((good + broken + good).encode(errors="surrogateescape"))
    log = RequestLog(str(tmp_path / "requests"))
    log.collect(topology)
    assert log.requests() == {("main", "main", "200"): 2}


def test_no_file_is_no_error(tmp_path: Path, topology: Topology) -> None:
    log = RequestLog(str(tmp_path / "missing"))
    log.collect(topology)
    log.relieve(topology)
    assert log.requests() == {}
