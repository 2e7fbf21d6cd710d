"""The last hour in numbers, and the last events: bounded, and kept while nobody looks."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganglion.control.programs import States

# In seconds, and as many points as an hour has.
EVERY, POINTS = 30.0, 120
MOST_EVENTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of a process or of the server's health. `at` is a Unix time in seconds."""

    at: float
    name: str
    text: str


class History:
    """One value of each series for each point. Those of a series that came later are None."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=POINTS)
        self._points: deque[Mapping[str, float]] = deque(maxlen=POINTS)
        self.events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._starts: dict[str, int] = {}
        self._ready: dict[str, bool] = {}
        self._health: str | None = None

    def add(self, at: float, values: Mapping[str, float]) -> None:
        """Note a point at a Unix time in seconds."""
        self._times.append(round(at))
        self._points.append({name: float(f"{value:.4g}") for name, value in values.items()})

    def shown(self) -> dict[str, Any]:
        """Return the times, and the values of each series."""
        points = list(self._points)
        names = dict.fromkeys(name for point in points for name in point)
        return {
            "times": list(self._times),
            "series": {name: [point.get(name) for point in points] for name in names},
        }

    def look(self, at: float, states: States, health: str | None) -> None:
        """Note the changes since the last look."""
        for name, item in states.programs.items():
            starts, ready = self._starts.get(name), self._ready.get(name)
            if starts is not None and item.starts > starts:
                times = "" if item.starts - starts == 1 else f" {item.starts - starts} times"
                reason = f" after: {item.end}" if item.end else ""
                self.events.append(Event(at=at, name=name, text=f"started{times}{reason}"))
            if ready is not None and ready != item.ready:
                text = "is ready" if item.ready else f"is not ready: {item.state.lower()}"
                self.events.append(Event(at=at, name=name, text=text))
            self._starts[name], self._ready[name] = item.starts, item.ready
        for name in [name for name in self._starts if name not in states.programs]:
            del self._starts[name], self._ready[name]
            self.events.append(Event(at=at, name=name, text="was removed"))
        if health is not None and health != self._health:
            if self._health is not None:
                self.events.append(Event(at=at, name="server", text=health))
            self._health = health
