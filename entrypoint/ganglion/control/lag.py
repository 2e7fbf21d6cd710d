"""How far behind each process is in each stream, from positions that are looked at repeatedly."""

from collections import deque
from collections.abc import Mapping

from ganglion.control.probes.replication import Positions

# In seconds. A process that is further behind than this is behind by this.
LONGEST = 600.0


class Lags:
    """Remembers when each position was first seen anywhere. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._goals: dict[str, deque[tuple[float, float]]] = {}
        self._last: dict[str, Mapping[str, float]] = {}
        self._begun: dict[str, float] = {}

    def look(self, found: Positions, now: float) -> dict[str, dict[str, float]]:
        """Note positions, and return the seconds by which each process is behind in each stream.

        A process is behind since the first look at which another one had a later position. Between
        two looks it cannot be seen, so a server that follows has zeros. A position that no process
        has any more is forgotten: a reset in test mode begins anew. A process that has gone back is
        another one. It starts with the positions in the database, which may be those of long ago,
        until the writers have told it theirs; so it is behind since its first look at most.
        """
        self._note_starts(found, now)
        reached: dict[str, float] = {}
        for streams in found.values():
            for stream, position in streams.items():
                reached[stream] = max(position, reached.get(stream, position))
        for stream, position in reached.items():
            goals = self._goals.get(stream, ())
            while goals and goals[-1][1] > position:
                goals.pop()
        for streams in found.values():
            for stream, position in streams.items():
                goals = self._goals.setdefault(stream, deque())
                if not goals or position > goals[-1][1]:
                    goals.append((now, position))
        for goals in self._goals.values():
            while len(goals) > 1 and now - goals[1][0] > LONGEST:
                goals.popleft()
        return {
            name: {
                stream: min(self._behind(stream, position, now), now - self._begun.get(name, 0.0))
                for stream, position in own.items()
            }
            for name, own in found.items()
        }

    def _note_starts(self, found: Positions, now: float) -> None:
        for name, own in found.items():
            last = self._last.get(name, {})
            if any(position < last.get(stream, 0) for stream, position in own.items()):
                self._begun[name] = now
            if own:
                self._last[name] = own

    def _behind(self, stream: str, position: float, now: float) -> float:
        since = next((at for at, goal in self._goals[stream] if goal > position), now)
        return min(LONGEST, now - since)


def worst(lags: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[str, float]]:
    """Return the stream in which each process is furthest behind, and its seconds."""
    return {
        name: max(streams.items(), key=lambda item: item[1])
        for name, streams in lags.items()
        if streams
    }
