"""What is wrong with the input, said so that it can be put right."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong: where, what was found there, why it cannot be, and what to do instead."""

    variable: str
    value: str | None
    message: str
    hint: str

    def __str__(self) -> str:
        where = self.variable if self.value is None else f"{self.variable}={self.value!r}"
        return f"{where}: {self.message}\n    fix: {self.hint}"


class ConfigError(Exception):
    """The configuration cannot be used. Carries every problem found, not just the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
