"""Errors in the configuration, each with the fix."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error: the variable, the value found there, a message, and a hint with what to type.

    `value` is None if there is none to show, or if it is secret.
    """

    variable: str
    value: str | None
    message: str
    hint: str

    def __str__(self) -> str:
        where = self.variable if self.value is None else f"{self.variable}={self.value!r}"
        return f"{where}: {self.message}\n    fix: {self.hint}"


class ConfigError(Exception):
    """The configuration cannot be used. Carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def reason(error: Exception) -> str:
    """Return why something failed, without the number and the path that OSError adds."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
