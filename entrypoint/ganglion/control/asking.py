"""Ask probes at the same time. None can hold up another one, or an answer to a client."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Probe = Callable[[], str | None]
# In seconds. Each probe has a time limit of its own and then says where it waited. One that does
# not end by itself, such as a look at a file system of another machine that is gone, is given up
# after this.
MOST = 6.0
LATER = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The last answer of a probe: its problem or None, and when it was asked.

    `since` is when the first answer with a problem, or without one, was seen. All times are
    monotonic, in seconds.
    """

    problem: str | None
    asked: float
    since: float


class Asking:
    """Asks each probe in a thread of its own, and keeps the last answer of each.

    A probe that hangs counts as failed, and is not asked again before it has ended.
    """

    def __init__(self, most: float = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._names: frozenset[str] = frozenset()
        self._asked: dict[str, float] = {}
        self._found: dict[str, Found] = {}
        self._change = threading.Condition()

    def begin(self, probes: Mapping[str, Probe]) -> None:
        """Ask all probes that are not being asked, and forget those that are not among these."""
        with self._change:
            self._names = frozenset(probes)
            for name in set(self._found) - self._names:
                del self._found[name]
            idle = [name for name in probes if name not in self._asked]
            now = self._clock()
            self._asked.update(dict.fromkeys(idle, now))
        for name in idle:
            arguments = (name, probes[name], now)
            try:
                threading.Thread(target=self._ask, args=arguments, daemon=True, name=name).start()
            except RuntimeError as error:
                self._end(name, f"cannot be asked: {error}", now)

    def ask(self, probes: Mapping[str, Probe]) -> dict[str, str | None]:
        """Ask all probes and wait for them. Return the problem of each, or None."""
        asked = self._clock()
        self.begin(probes)
        self.wait(asked)
        return {name: item.problem for name, item in self.found(asked).items()}

    def found(self, since: float = 0.0) -> dict[str, Found]:
        """Return the last answer of each probe that was asked at `since` or later, at once.

        One that was asked before, and hangs, has not answered since then either.
        """
        now = self._clock()
        with self._change:
            hung = {name for name, asked in self._asked.items() if now - asked >= self._most}
            for name in hung:
                problem = f"does not answer: nothing within {self._most:g} s"
                self._note(name, problem, self._asked[name])
            return {
                name: item
                for name, item in self._found.items()
                if item.asked >= since or name in hung
            }

    def wait(self, since: float) -> None:
        """Wait until each probe has answered or hangs, until `since` and `most` at most."""
        with self._change:
            # A little longer, as they are asked after `since`.
            while (left := since + self._most + LATER - self._clock()) > 0 and any(
                self._is_awaited(name, since) for name in self._names
            ):
                self._change.wait(left)

    def _is_awaited(self, name: str, since: float) -> bool:
        found = self._found.get(name)
        answered = found is not None and found.asked >= since
        return not answered and self._asked.get(name, since) >= since

    def _ask(self, name: str, probe: Probe, asked: float) -> None:
        try:
            problem = probe()
        except Exception as error:  # noqa: BLE001 - an unknown failure is a problem of this part
            problem = f"cannot be asked: {type(error).__name__}: {error}"
        self._end(name, problem, asked)

    def _end(self, name: str, problem: str | None, asked: float) -> None:
        with self._change:
            del self._asked[name]
            self._note(name, problem, asked)
            self._change.notify_all()

    def _note(self, name: str, problem: str | None, asked: float) -> None:
        if name not in self._names:
            return
        before = self._found.get(name)
        same = before is not None and (before.problem is None) == (problem is None)
        since = before.since if before is not None and same else self._clock()
        self._found[name] = Found(problem=problem, asked=asked, since=since)
