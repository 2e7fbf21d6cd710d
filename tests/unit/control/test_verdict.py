"""One word for a server's health, from its parts and programs."""

from dataclasses import replace

import pytest

from ganglion.control.asking import Found
from ganglion.control.programs import ProgramState, States
from ganglion.control.snapshot import Check, State, assemble
from ganglion.control.verdict import NOT_YET, Word, judge
from tests.plans import topology_of

TOPOLOGY = topology_of("client_reader, typing, pusher")
PARTS: dict[str, str | None] = dict.fromkeys(
    ("postgres", "redis", "main", "client_reader1", "typing1", "pusher1", "nginx", "disk", "clock")
)


def program(name: str) -> ProgramState:
    return ProgramState(
        name=name,
        state="RUNNING",
        ready=True,
        pid=1,
        age=1.0,
        starts=1,
        given_up=False,
        ended=None,
        end="",
    )


NAMES = ("postgres", "redis", "main", "client_reader1", "typing1", "pusher1", "nginx")
STATES = States(programs={name: program(name) for name in NAMES}, start={"nginx": 4.0})


def states(**down: ProgramState) -> States:
    return replace(STATES, programs={**STATES.programs, **down})


def test_a_server_whose_parts_all_work_is_ready() -> None:
    found = judge(PARTS, STATES, TOPOLOGY)
    assert (found.word, found.sentence()) == (Word.READY, "ready: all parts work")


@pytest.mark.parametrize(
    ("part", "problem", "word"),
    [
        ("postgres", "does not answer: x", Word.FAILING),
        ("redis", "does not answer: x", Word.FAILING),
        ("redis", "has 3 of 4 processes that listen to replication", Word.DEGRADED),
        ("main", "does not answer at x", Word.FAILING),
        ("nginx", "does not answer at port 8008: x", Word.FAILING),
        ("nginx", "does not reach client_reader (502)", Word.DEGRADED),
        ("disk", "is full: 1 MB are free", Word.FAILING),
        ("clock", "is 61 s ahead of PostgreSQL's", Word.DEGRADED),
        # Main stands in for it, and nobody for the writer of a stream or the one that sends.
        ("client_reader1", "does not answer at x", Word.DEGRADED),
        ("typing1", "does not answer at x", Word.FAILING),
        ("pusher1", "does not answer at x", Word.FAILING),
    ],
)
def test_a_fault_is_worse_if_nobody_stands_in(part: str, problem: str, word: Word) -> None:
    found = judge({**PARTS, part: problem}, STATES, TOPOLOGY)
    assert found.word is word
    assert found.problems == {part: problem}
    assert found.sentence() == f"{word.value}: {part} {problem}"


def test_a_program_that_cannot_come_back_is_named_with_its_end() -> None:
    down = replace(
        program("client_reader1"), ready=False, state="BACKOFF", starts=4, end="exit status 1"
    )
    found = judge(PARTS, states(client_reader1=down), TOPOLOGY)
    assert found.word is Word.DEGRADED
    assert found.problems == {"client_reader1": "is backoff, started 4 times: exit status 1"}


def test_a_server_is_starting_until_nginx_was_ready_once() -> None:
    down = replace(program("main"), ready=False, state="STARTING")
    begun = replace(states(main=down), start={"postgres": 1.0})
    assert judge({**PARTS, "main": "does not answer"}, begun, TOPOLOGY).word is Word.STARTING


def test_one_of_two_media_workers_stands_in_and_no_sharded_one_does() -> None:
    several = topology_of("media_repository:2, federation_sender:2, event_persister:2")
    for name, word in (
        ("media_repository1", Word.DEGRADED),
        ("federation_sender1", Word.FAILING),
        ("event_persister2", Word.FAILING),
    ):
        assert judge({name: "does not answer at x"}, STATES, several).word is word
    one = topology_of("media_repository")
    found = judge({"media_repository1": "does not answer at x"}, STATES, one)
    assert found.word is Word.FAILING


def test_parts_that_have_not_answered_yet_are_no_fault() -> None:
    assert judge({**PARTS, "main": NOT_YET}, STATES, TOPOLOGY).word is Word.STARTING
    both = {**PARTS, "main": NOT_YET, "clock": "is 61 s ahead of PostgreSQL's"}
    assert judge(both, STATES, TOPOLOGY).word is Word.DEGRADED


def known(problem: str | None = None) -> dict[str, Found]:
    return {
        name: Found(problem=problem if name == "disk" else None, asked=90.0, since=50.0)
        for name in PARTS
    }


def test_a_snapshot_says_of_each_part_how_it_is_and_since_when() -> None:
    parts = (*PARTS, "certificate")
    down = replace(program("control"), ready=False, state="BACKOFF", end="exit status 1")
    found = assemble(100.0, parts, known("is full"), states(control=down), {}, TOPOLOGY)
    checks = {item.name: item for item in found.checks}
    assert checks["main"] == Check(
        name="main", process="main", state=State.WORKS, words="", since=50.0, asked=90.0
    )
    assert checks["disk"] == Check(
        name="disk", process=None, state=State.FAILED, words="is full", since=50.0, asked=90.0
    )
    assert checks["certificate"].state is State.UNKNOWN
    # No part is asked for it, and the supervisor says that it is down.
    assert checks["control"] == Check(
        name="control", process="control", state=State.FAILED,
        words="is backoff: exit status 1", since=None, asked=None,
    )  # fmt: skip
    assert found.age == 10.0


def test_lag_makes_a_server_unready_only_beyond_the_given_one() -> None:
    lags = {"main": {"events": 0.0}, "pusher1": {"events": 3.0, "caches": 4.0}}
    found = assemble(100.0, tuple(PARTS), known(), STATES, lags, TOPOLOGY)
    assert found.ready(5.0) == (True, "ready: all 9 parts work")
    assert found.ready(4.0) == (False, "pusher1 is 4 s behind in caches")
    assert found.verdict.word is Word.READY


def test_a_process_that_is_too_far_behind_is_a_problem_of_the_streams() -> None:
    lags = {"main": {"events": 0.0}, "pusher1": {"events": 5.0}}
    answers = {**known(), "streams": Found(problem=None, asked=90.0, since=50.0)}
    found = assemble(100.0, tuple(answers), answers, STATES, lags, TOPOLOGY)
    assert found.verdict.word is Word.DEGRADED
    assert dict(found.verdict.problems) == {"streams": "are behind: pusher1 5 s in events"}
