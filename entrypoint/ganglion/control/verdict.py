"""One word for a server's health, and the reasons: pure, from observed facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ganglion.control.programs import States
from ganglion.topology.names import MAIN
from ganglion.topology.topology import Topology

# Without one of these, requests fail.
ESSENTIAL = frozenset({"postgres", "redis", MAIN, "nginx", "disk"})
# The problems of these that concern one pool, or one process of many: others stand in.
STANDS_IN = ("does not reach ", "has ")
# The problem of a part whose first answer is still awaited.
NOT_YET = "has not answered yet"


class Word(Enum):
    """The states of a server. With the first two it answers all of its users' requests."""

    READY = "ready"
    DEGRADED = "degraded"
    STARTING = "starting"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The word, and the problem of each part that has one, by its name."""

    word: Word
    problems: Mapping[str, str]

    def sentence(self) -> str:
        """Return all of it in words."""
        if not self.problems:
            return f"{self.word.value}: all parts work"
        return f"{self.word.value}: " + "; ".join(
            f"{name} {problem}" for name, problem in self.problems.items()
        )


def judge(parts: Mapping[str, str | None], states: States | None, topology: Topology) -> Verdict:
    """Judge a server by the problem of each part, and by the state of its programs.

    `states` is None if the supervisor did not answer.
    """
    problems = {name: problem for name, problem in parts.items() if problem is not None}
    programs = {} if states is None else states.programs
    for name, program in programs.items():
        if not program.ready:
            again = f", started {program.starts} times" if program.starts > 1 else ""
            last = f": {program.end}" if program.end else ""
            reason = f"is {program.state.lower()}{again}{last}"
            problems[name] = f"{reason}; it {problems[name]}" if name in problems else reason
    if not problems:
        return Verdict(word=Word.READY, problems=problems)
    known = {name: problem for name, problem in problems.items() if problem != NOT_YET}
    if not known or (states is not None and "nginx" not in states.start):
        return Verdict(word=Word.STARTING, problems=problems)
    alone = {process.name for process in topology.processes if topology.stands_alone(process)}
    failing = (ESSENTIAL | alone) & {
        name for name, problem in known.items() if not problem.startswith(STANDS_IN)
    }
    return Verdict(word=Word.FAILING if failing else Word.DEGRADED, problems=problems)
