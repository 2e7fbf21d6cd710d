"""The nouns of this package: Level, Finding, Check."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ganglion.doctor.place import Place


class Level(Enum):
    """How bad a finding is. The value is its name in JSON."""

    GOOD = "ok"
    NOTICE = "warning"
    BAD = "error"
    # The check does not apply here, or its server is stopped.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor.

    `message` describes the fact. Findings that are not good say what it means for users in
    `means`, and have commands or lines of configuration that repair it in `fix`, a line each.
    """

    level: Level
    message: str
    means: str = ""
    fix: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row of the table of checks.

    `about` completes "checks …" in the documentation. `observe` collects facts and may block; it
    raises `place.Unavailable` where the check does not apply. `judge` is pure and gets these facts.
    """

    name: str
    about: str
    observe: Callable[[Place], Any]
    judge: Callable[[Any], Iterable[Finding]]


def good(message: str) -> Finding:
    """Make a finding without a fault."""
    return Finding(level=Level.GOOD, message=message)


def notice(message: str, means: str, *fix: str) -> Finding:
    """Make a finding that deserves a look: it hurts later, or it hurts a little."""
    return Finding(level=Level.NOTICE, message=message, means=means, fix=fix)


def bad(message: str, means: str, *fix: str) -> Finding:
    """Make a finding that hurts users now."""
    return Finding(level=Level.BAD, message=message, means=means, fix=fix)
