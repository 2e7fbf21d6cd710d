"""Run all checks at the same time, with one time limit.

Each check has a thread. One that blocks, such as at a name server that does not answer or a frozen
database, is left behind: its thread is a daemon and ends with the process.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ganglion.doctor.finding import Check, Finding, Level, good, notice
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The findings of one check, at least one."""

    check: Check
    findings: tuple[Finding, ...]


def examine(
    checks: Sequence[Check],
    place: Place,
    limit: float,
    used: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Result, ...]:
    """Run the checks and return their results in the order of `checks`.

    `limit` is the time for all of them together, in seconds, of which `used` are over.
    """
    done: queue.SimpleQueue[tuple[str, tuple[Finding, ...]]] = queue.SimpleQueue()
    deadline = clock() + limit - used
    for check in checks:
        work = threading.Thread(
            target=lambda check=check: done.put((check.name, _findings(check, place))),
            name=f"check {check.name}",
            daemon=True,
        )
        work.start()
    found: dict[str, tuple[Finding, ...]] = {}
    while len(found) < len(checks):
        left = deadline - clock()
        if left <= 0:
            break
        try:
            name, findings = done.get(timeout=left)
        except queue.Empty:
            break
        found[name] = findings
    return tuple(
        Result(check=check, findings=found.get(check.name) or (_late(limit),)) for check in checks
    )


def _findings(check: Check, place: Place) -> tuple[Finding, ...]:
    try:
        found = tuple(check.judge(check.observe(place)))
    except Unavailable as reason:
        return (Finding(level=Level.SKIPPED, message=str(reason)),)
    except Exception as error:  # noqa: BLE001 - one check must not end the others
        return (_failed(error),)
    return found or (good("nothing found"),)


def _failed(error: Exception) -> Finding:
    text = str(error).strip().splitlines()
    return notice(
        f"could not be checked: {type(error).__name__}: {text[0] if text else ''}",
        "the check itself failed; this may hide a fault",
        "ganglion status    # and the log of the server",
    )


def _late(limit: float) -> Finding:
    return notice(
        f"could not be checked within {limit:g} s",
        "something that it asks does not answer, or is slow",
        "ganglion doctor --wait 30    # gives every check more time",
    )


def worst(results: Iterable[Result]) -> Level:
    """Return the level of the worst finding: GOOD, NOTICE or BAD."""
    levels = {finding.level for result in results for finding in result.findings}
    return next((level for level in (Level.BAD, Level.NOTICE) if level in levels), Level.GOOD)
