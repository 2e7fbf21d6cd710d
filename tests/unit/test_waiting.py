"""Waiting for an external server: attempts, and the lines about them."""

from collections.abc import Iterator

import pytest

from ganglion.errors import ConfigError, Problem
from ganglion.programs import waiting


class Clock:
    """A clock that moves while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(waiting, "time", found)
    return found


def wait(outcomes: Iterator[str], limit: float = 120) -> tuple[str, list[str]]:
    """Wait for an attempt that ends with "" or fails with a reason. Returns all that was said."""
    said: list[str] = []

    def attempt() -> str:
        if reason := next(outcomes):
            raise ConnectionError(reason)
        return "it"

    found = waiting.wait_for(
        attempt,
        "PostgreSQL",
        limit=limit,
        say=said.append,
        retried=(ConnectionError,),
        final=lambda error: "password" in str(error),
        problem=lambda error: Problem(variable="X", value=None, message=str(error), hint=""),
    )
    return found, said


def test_the_same_reason_is_said_ever_more_rarely_and_a_new_one_at_once() -> None:
    found, said = wait(iter([*["no address"] * 100, "refused", "refused", ""]))
    assert found == "it"
    assert [line.split(",")[1].split()[0] for line in said] == [
        *("0", "1", "3", "7", "15", "31", "63", "100")
    ]
    assert said[0] == "waiting for PostgreSQL, 0 of 120 s: no address"
    assert said[-1] == "waiting for PostgreSQL, 100 of 120 s: refused"


def test_the_time_has_a_limit_and_some_errors_are_not_waited_out(clock: Clock) -> None:
    with pytest.raises(ConfigError, match="no address"):
        wait(iter(["no address"] * 100), limit=10)
    assert clock.now == pytest.approx(111)
    with pytest.raises(ConfigError, match="password"):
        wait(iter(["password is wrong", ""]))
    assert clock.now == pytest.approx(111)
