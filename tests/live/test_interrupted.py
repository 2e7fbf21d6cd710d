"""A first start that is killed at any moment is made good by the next one."""

import random

import pytest

from benchmarks.interrupted import interrupt, is_whole
from tests.harness import Server

# In seconds, about as long as a first start takes on an idle machine.
LONGEST = 5.0


@pytest.mark.parametrize("supervisor_only", [True, False])
def test_a_first_start_that_is_killed_leaves_nothing_half_made(supervisor_only: bool) -> None:  # noqa: FBT001
    moments = [random.uniform(0, LONGEST) for _ in range(2)]
    with Server("none") as server:
        interrupt(server, moments, supervisor_only=supervisor_only)
        try:
            is_whole(server)
        except AssertionError as error:
            error.add_note(f"killed after {moments} s")
            raise
