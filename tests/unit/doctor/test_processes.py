"""Judgements of a running server. tests/live/test_doctor.py breaks a real one."""

from dataclasses import replace
from typing import Any

import pytest

from ganglion.control.status import ProcessStatus
from ganglion.doctor.finding import Level
from ganglion.doctor.processes import Memory, Processes, Streams
from tests.doctoring import assert_quiet, finding, judged, place

GB = 1024**3


def state(name: str, state: str = "RUNNING", description: str = "") -> ProcessStatus:
    return ProcessStatus(name=name, state=state, pid=7, uptime=20, description=description)


def test_processes_that_do_not_run_or_answer() -> None:
    fine = Processes(
        states=(state("main"), state("pusher1"), state("nginx")),
        silent={},
        synapse=frozenset({"main", "pusher1"}),
    )
    assert_quiet(judged("processes", fine))
    down = replace(fine, states=(state("main"), state("pusher1", "FATAL", "no such file")))
    (found,) = judged("processes", replace(down, silent={"pusher1": "refused"}))
    assert found.level is Level.BAD
    assert found.message == "pusher1 does not run (FATAL): no such file"
    assert found.fix[0] == "ganglion restart pusher1"
    (found,) = judged("processes", replace(fine, states=(state("nginx", "FATAL"),)))
    assert found.fix[0].startswith("docker restart NAME")
    (found,) = judged("processes", replace(fine, silent={"pusher1": "timed out"}))
    assert found.message == "pusher1 runs and does not answer: timed out"
    assert found.fix == ("ganglion restart pusher1",)
    (found,) = judged("processes", replace(fine, states=(state("main", "STARTING"),)))
    assert found.level is Level.NOTICE


STREAMS = Streams(listeners=3, failure="", processes=3, behind={}, measured=True)


def test_streams_that_stand() -> None:
    assert_quiet(judged("streams", STREAMS))
    (found,) = judged("streams", replace(STREAMS, listeners=2))
    assert found.message == "2 of 3 processes listen to replication"
    (found,) = judged("streams", replace(STREAMS, behind={"sync1": ("events", "receipts")}))
    assert found.message == "sync1 answers, and its position stands in events, receipts"
    assert found.fix == ("ganglion restart sync1",)
    (found,) = judged("streams", replace(STREAMS, listeners=None, failure="refused"))
    assert found.message == "Redis does not answer: refused"


MEMORY = Memory(used=2 * GB, budget=4 * GB, source="cgroup", actual=4 * GB, killed=0)


@pytest.mark.parametrize(
    ("changed", "level", "message"),
    [
        ({"used": 3.9 * GB}, Level.NOTICE, "3.9 GB of the budget of 4.0 GB are in use"),
        ({"actual": 2 * GB}, Level.BAD, "the budget is 4.0 GB (cgroup), and there are 2.0 GB"),
        ({"killed": 2}, Level.NOTICE, "the kernel killed 2 processes for lack of memory"),
    ],
)
def test_memory_against_the_budget(changed: dict[str, Any], level: Level, message: str) -> None:
    assert_quiet(judged("memory", MEMORY))
    (found,) = judged("memory", replace(MEMORY, **changed))
    assert found.level is level
    assert message in found.message


def test_memory_of_a_stopped_server() -> None:
    assert_quiet(judged("memory", replace(MEMORY, used=None)))
    assert finding("memory", place()).level is Level.GOOD


def test_a_budget_larger_than_the_machine() -> None:
    where = place()
    huge = replace(where.limits, memory=10**15, memory_from="GANGLION_MEMORY")
    found = finding("memory", replace(where, limits=huge))
    assert found.level is Level.BAD
    assert "(GANGLION_MEMORY)" in found.message
