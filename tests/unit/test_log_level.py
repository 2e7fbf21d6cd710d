"""Where the level of each program stands, and which levels it can have."""

import pytest

from ganglion.control.log_level import place, set_level
from ganglion.errors import ConfigError
from ganglion.logs.record import INFO, LEVELS
from tests.plans import settings


def test_a_level_that_a_program_does_not_know_is_said_as_the_one_in_force() -> None:
    redis = place(settings(), "redis")
    assert [redis.in_force(level) for level in LEVELS] == [
        "DEBUG", "INFO", "WARNING", "WARNING", "WARNING",
    ]  # fmt: skip
    assert place(settings(), "main").in_force("ERROR") == "ERROR"


def test_nginx_says_that_it_is_ready_at_every_level_that_it_can_have() -> None:
    # `start worker processes` is a notice: programs/nginx.py.
    assert place(settings(), "nginx").most == INFO
    assert place(settings(), "nginx").words[INFO] == "notice"


@pytest.mark.parametrize("name", ["supervisor", "ganglion"])
def test_a_level_that_is_fixed_is_refused_with_a_way(name: str) -> None:
    with pytest.raises(ConfigError) as found:
        set_level(settings(), name, "ERROR")
    (problem,) = found.value.problems
    assert problem.message == "logs at INFO, and always does"
    assert problem.hint == f"type `ganglion logs {name} --level ERROR` to see those lines alone"
