"""The state of a server at one moment: pure, from the answers of its parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ganglion.control.asking import Found
from ganglion.control.lag import worst
from ganglion.control.programs import States
from ganglion.control.verdict import NOT_YET, Verdict, Word, judge
from ganglion.topology.topology import Topology

# In seconds. A process may be behind for so long, as with `ganglion ready`.
MOST_LAG = 5.0


class State(Enum):
    """The states of one check."""

    WORKS = "works"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One part. `process` is the program that it concerns, None for a part of the machine.

    `words` name the problem and are empty if it works. `since` is when it began to work or to
    fail, and `asked` when it was asked last: monotonic times in seconds, None if unknown.
    """

    name: str
    process: str | None
    state: State
    words: str
    since: float | None
    asked: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that is known. `at` is the monotonic time of this moment in seconds.

    `states` is None if the supervisor did not answer. `lags` are the seconds by which each process
    is behind in each stream; empty without metrics.
    """

    at: float
    verdict: Verdict
    checks: tuple[Check, ...]
    states: States | None
    lags: Mapping[str, Mapping[str, float]]

    @property
    def age(self) -> float:
        """The age of its oldest answer in seconds."""
        return self.at - min((item.asked for item in self.checks if item.asked), default=self.at)

    def behind(self, most: float) -> dict[str, str]:
        """Return the processes that are further behind than `most` seconds, each with a reason."""
        return {
            name: f"is {seconds:.0f} s behind in {stream}"
            for name, (stream, seconds) in worst(self.lags).items()
            if seconds >= most
        }

    def ready(self, most_lag: float = MOST_LAG) -> tuple[bool, str]:
        """Return whether every part works, and the reasons in words."""
        late = self.behind(most_lag)
        if self.verdict.word is Word.READY and not late:
            return True, f"ready: all {len(self.checks)} parts work"
        named = {**self.verdict.problems, **late}
        return False, "; ".join(f"{name} {reason}" for name, reason in named.items())


def assemble(
    at: float,
    names: tuple[str, ...],
    found: Mapping[str, Found],
    states: States | None,
    lags: Mapping[str, Mapping[str, float]],
    topology: Topology,
) -> Snapshot:
    """Judge the answers of the parts `names`; one that is not in `found` is unknown."""
    parts = {name: found[name].problem if name in found else NOT_YET for name in names}
    late = {
        name: f"{seconds:.0f} s in {stream}"
        for name, (stream, seconds) in worst(lags).items()
        if seconds >= MOST_LAG
    }
    if late and parts.get("streams", "") is None:
        parts["streams"] = f"are behind: {', '.join(f'{name} {by}' for name, by in late.items())}"
    verdict = judge(parts, states, topology)
    programs = set() if states is None else set(states.programs)
    processes = programs | {process.name for process in topology.here}
    return Snapshot(
        at=at,
        verdict=verdict,
        checks=tuple(
            Check(
                name=name,
                process=name if name in processes else None,
                state=_state(name, verdict, parts),
                words=verdict.problems.get(name, ""),
                since=found[name].since if name in found else None,
                asked=found[name].asked if name in found else None,
            )
            for name in dict.fromkeys((*names, *verdict.problems))
        ),
        states=states,
        lags=lags,
    )


def _state(name: str, verdict: Verdict, parts: Mapping[str, str | None]) -> State:
    if name not in verdict.problems:
        return State.WORKS
    return State.UNKNOWN if parts.get(name) is NOT_YET else State.FAILED
