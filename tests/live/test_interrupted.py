"""A first start or a verb that is killed at any moment is made good by the next one."""

import random
from collections.abc import Iterator

import pytest

from benchmarks.interrupted import interrupt, is_whole
from benchmarks.killed import Place, kill, prepared
from tests.harness import Server

# In seconds, about as long as a first start, or one of the verbs, takes on an idle machine.
LONGEST = 5.0
VERBS = ("backup --rehearse", "restore")
# In seconds: how long their processes may go on, on a slow machine.
END_WITHIN = 60.0


@pytest.fixture(scope="module")
def killable() -> Iterator[Place]:
    """A running server, with what the verbs need."""
    with prepared("none", VERBS) as place:
        yield place


@pytest.mark.parametrize("supervisor_only", [True, False])
def test_a_first_start_that_is_killed_leaves_nothing_half_made(supervisor_only: bool) -> None:  # noqa: FBT001
    moments = [random.uniform(0, LONGEST) for _ in range(2)]
    with Server("none", fresh=True) as server:
        interrupt(server, moments, supervisor_only=supervisor_only)
        try:
            is_whole(server)
        except AssertionError as error:
            error.add_note(f"killed after {moments} s")
            raise


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_that_is_killed_leaves_nothing_that_runs(killable: Place, name: str) -> None:
    moment = random.uniform(0, LONGEST)
    assert kill(killable, name, moment, END_WITHIN) == {}, f"killed after {moment} s"
