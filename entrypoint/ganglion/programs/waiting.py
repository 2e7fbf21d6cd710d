"""Waiting for an external server."""

import time
from collections.abc import Callable
from typing import TypeVar

from ganglion.errors import ConfigError, Problem

Say = Callable[[str], None]
T = TypeVar("T")

# The limit for one attempt, in seconds.
CONNECT_TIMEOUT = 5


def wait_for(
    attempt: Callable[[], T],
    where: str,
    *,
    limit: float,
    say: Say,
    retried: tuple[type[Exception], ...],
    final: Callable[[Exception], bool],
    problem: Callable[[Exception], Problem],
) -> T:
    """Try once a second for `limit` seconds. Return the result of the first attempt that succeeds.

    Only errors of the types `retried` are retried, and only until `final` says of one that waiting
    cannot help. Says why it waits: each new reason at once, the same one at growing intervals.
    Raises ConfigError with the `problem` of the last error.
    """
    started = time.monotonic()
    said, due = "", 0.0
    while True:
        try:
            return attempt()
        except retried as error:
            waited = time.monotonic() - started
            if final(error) or waited > limit:
                raise ConfigError([problem(error)]) from error
            reason = str(error).strip().splitlines()[-1]
            if reason != said or waited >= due:
                said, due = reason, 2 * waited + 1
                say(f"waiting for {where}, {waited:.0f} of {limit:.0f} s: {reason}")
        time.sleep(1)
