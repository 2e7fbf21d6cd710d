"""One scrape: ask every part at once, within a limit of time, and answer with one text."""

import os
import threading
import time
from collections.abc import Iterator

from ganglion.control import programs, stores
from ganglion.control.application import Answer, Asked
from ganglion.control.asking import Asking, Probe
from ganglion.control.config import Watched
from ganglion.control.footprint import footprint
from ganglion.control.metrics.exposition import KIND, rendered
from ganglion.control.metrics.gather import gather
from ganglion.control.metrics.merge import Merged
from ganglion.control.metrics.own import Observed, families
from ganglion.control.metrics.request_log import RequestLog
from ganglion.control.monitor import Monitor
from ganglion.control.refusal import Refusal
from ganglion.topology.topology import Topology

# In seconds: the time for all processes together. Prometheus itself waits for 10 by default.
WITHIN = 5.0
# Scrapes at once; each takes a thread until its client has read the answer.
AT_ONCE = 2


class Scrapes:
    """Answers scrapes of all processes of this container."""

    def __init__(self, watched: Watched, log: RequestLog, monitor: Monitor) -> None:
        self._watched = watched
        self._monitor = monitor
        self._log = log
        self._asking = Asking(WITHIN + 1.0)
        self._one = threading.Lock()
        self._places = threading.Semaphore(AT_ONCE)

    def answer(self, asked: Asked) -> Answer:
        """Answer `/metrics`; with `only=ganglion`, without the series of Synapse's processes."""
        only = asked.query.get("only")
        if only not in (None, "ganglion"):
            raise Refusal(400, "only may be ganglion")
        if not self._places.acquire(blocking=False):
            raise Refusal(
                503, f"{AT_ONCE} scrapes are under way; ask later", (("Retry-After", "5"),)
            )
        try:
            topology = self._watched.topology()
            merged = Merged(labels_of(topology))
            # Two scrapes do not share an answer, and a probe is not asked twice at once.
            with self._one:
                observed = self._observe(topology, None if only else merged)
        except BaseException:
            self._places.release()
            raise
        return Answer(content=b"", kind=KIND, stream=Text(observed, merged, self._places))

    def _observe(self, topology: Topology, merged: Merged | None) -> Observed:
        began = time.monotonic()
        settings = self._watched.settings
        seen = Observed(labels=labels_of(topology))
        self._log.collect(topology)
        seen.requests, seen.times = self._log.requests(), self._log.times()
        asked: dict[str, Probe] = {"": lambda: _programs(self._watched, seen)}
        # The file system may be another machine's, and hang.
        asked["disk"] = lambda: _disk(self._watched, seen)
        asked["health"] = lambda: _health(self._monitor, seen)
        if stores.uses_postgres(settings):
            asked["postgres"] = lambda: _postgres(self._watched, seen)
        if settings.uses_stores:
            asked["redis"] = lambda: _redis(self._watched, seen)
        problems: dict[str, str] = {}
        names = tuple(name for name in asked if name not in ("", "disk", "health"))
        addresses = {item.name: item.metrics for item in topology.here}
        if merged is not None and settings.enable_metrics:
            names += tuple(addresses)
            asked["/"] = lambda: problems.update(gather(addresses, WITHIN, merged.add))
        found = self._asking.ask(asked)
        whole = found.pop("/", None)
        if whole is not None:
            # This application itself had no processor for so long.
            problems |= dict.fromkeys(addresses, whole)
        problems |= {name: problem for name, problem in found.items() if problem is not None}
        seen.asked = names
        seen.problems = dict(problems)
        seen.seconds = round(time.monotonic() - began, 3)
        return seen


class Text:
    """The text of one scrape, which gives its memory back when it has been sent."""

    def __init__(self, observed: Observed, merged: Merged, places: threading.Semaphore) -> None:
        self._observed = observed
        self._merged = merged
        self._places: threading.Semaphore | None = places

    def __iter__(self) -> Iterator[bytes]:
        yield b"".join(rendered(families(self._observed)))
        yield from self._merged.pieces()

    def close(self) -> None:
        """End: gunicorn calls this, whether all was sent or the client has gone."""
        self._merged.close()
        if self._places is not None:
            self._places.release()
            self._places = None


def labels_of(topology: Topology) -> dict[str, dict[str, str]]:
    """Return the labels of each process: its name and its roles."""
    return {
        item.name: {"process": item.name, "role": "+".join(item.roles) or item.name}
        for item in topology.here
    }


def _programs(watched: Watched, seen: Observed) -> str | None:
    try:
        seen.states = programs.ask(watched.states)
    except (OSError, ValueError) as error:
        return f"the supervisor does not answer: {error}"
    found = {item.name: footprint(item.pid) for item in seen.states.programs.values() if item.pid}
    seen.footprints = {name: item for name, item in found.items() if item is not None}
    return None


def _disk(watched: Watched, seen: Observed) -> str | None:
    found = os.statvfs(watched.settings.data)
    seen.disk_free = found.f_bavail * found.f_frsize
    return None


def _health(monitor: Monitor, seen: Observed) -> str | None:
    seen.health = monitor.snapshot()
    return None


def _postgres(watched: Watched, seen: Observed) -> str | None:
    seen.postgres = stores.postgres(watched.settings)
    return None


def _redis(watched: Watched, seen: Observed) -> str | None:
    seen.redis = stores.redis(watched.settings)
    return None
