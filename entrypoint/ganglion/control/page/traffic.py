"""Rates and times of requests, from counts at two moments: pure."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ganglion.control.metrics.request_log import LIMITS, RequestLog, Times

# In seconds: rates are those of so long, and marks are at least so far apart.
WINDOW, APART = 60.0, 5.0
Requests = Mapping[tuple[str, str, str], int]
Seconds = Mapping[tuple[str, str], Times]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The counts at one moment, a monotonic time in seconds."""

    at: float
    requests: Requests
    times: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Requests per second, those with 5xx, and the median and 99th percentile in seconds.

    A percentile is None without requests.
    """

    requests: float
    failed: float
    median: float | None
    slow: float | None


class Marks:
    """The counts of about the last minute."""

    def __init__(self, log: RequestLog) -> None:
        self._log = log
        self._marks: deque[Mark] = deque()

    def note(self, now: float) -> None:
        """Remember the present counts, unless that was done a moment ago."""
        if self._marks and now - self._marks[-1].at < APART:
            return
        self._marks.append(Mark(at=now, requests=self._log.requests(), times=self._log.times()))
        # One that is older stays: a minute ago lies between it and the next.
        while len(self._marks) > 2 and now - self._marks[1].at >= WINDOW:
            self._marks.popleft()

    def rates(self) -> tuple[dict[str, Rate], dict[str, Rate], Rate]:
        """Return the rates of each route, of each worker and of all."""
        first, last = (self._marks[0], self._marks[-1]) if self._marks else (None, None)
        if first is None or last is None or last.at <= first.at:
            return {}, {}, Rate(requests=0.0, failed=0.0, median=None, slow=None)
        seconds = last.at - first.at
        counts = {key: number - first.requests.get(key, 0) for key, number in last.requests.items()}
        times = {key: _since(found, first.times.get(key)) for key, found in last.times.items()}
        routes = {route for route, _ in times}
        workers = {worker for _, worker in times}
        return (
            {name: _rate(counts, times, seconds, route=name) for name in routes},
            {name: _rate(counts, times, seconds, worker=name) for name in workers},
            _rate(counts, times, seconds),
        )


def _since(later: Times, earlier: Times | None) -> list[int]:
    if earlier is None:
        return later.counts
    return [now - before for now, before in zip(later.counts, earlier.counts, strict=True)]


def _rate(
    counts: Requests,
    times: Mapping[tuple[str, str], list[int]],
    seconds: float,
    route: str | None = None,
    worker: str | None = None,
) -> Rate:
    def chosen(key: tuple[str, ...]) -> bool:
        return route in (None, key[0]) and worker in (None, key[1])

    found = {key: number for key, number in counts.items() if chosen(key)}
    added = summed(counted for key, counted in times.items() if chosen(key))
    failed = sum(number for key, number in found.items() if key[2].startswith("5"))
    return Rate(
        requests=sum(found.values()) / seconds,
        failed=failed / seconds,
        median=percentile(added, 0.5),
        slow=percentile(added, 0.99),
    )


def summed(rows: Iterable[list[int]]) -> list[int]:
    """Add histograms up."""
    total = [0] * (len(LIMITS) + 1)
    for row in rows:
        total = [one + other for one, other in zip(total, row, strict=True)]
    return total


def percentile(counts: list[int], part: float) -> float | None:
    """Return the time below which this part of the requests stayed, as Prometheus estimates it."""
    wanted = part * sum(counts)
    if wanted <= 0:
        return None
    before, lower = 0, 0.0
    for limit, number in zip(LIMITS, counts, strict=False):
        if number and before + number >= wanted:
            return lower + (limit - lower) * (wanted - before) / number
        before, lower = before + number, limit
    return LIMITS[-1]
