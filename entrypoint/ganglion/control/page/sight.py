"""The facts that the page shows, each kept for as long as it takes to ask again."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ganglion.control import programs, stores
from ganglion.control.asking import Asking
from ganglion.control.config import Watched
from ganglion.control.footprint import Footprint, footprint
from ganglion.control.metrics.request_log import RequestLog
from ganglion.control.monitor import Monitor
from ganglion.control.page import chosen, database
from ganglion.control.page.history import EVERY, History
from ganglion.control.page.traffic import Marks, Rate
from ganglion.control.usage import usage

T = TypeVar("T")
# In seconds: how long an answer is kept, and how long a page waits for all of them.
BRIEFLY, HEALTH, SHORT, LONG, LONGEST = 1.0, 8.0, 10.0, 60.0, 900.0
WITHIN = 1.5
# In seconds for each process that is asked: so a page costs no more on a server of many processes.
HEALTH_EACH, CHOSEN_EACH = 0.35, 0.5
# A page that is open asks every few seconds.
LOOKED_AT = 30.0


@dataclass(slots=True)
class Kept(Generic[T]):
    """The last answer to one question, and when it may be asked again. A failed one keeps it."""

    every: float
    ask: Callable[[], T]
    value: T | None = None
    problem: str | None = None
    again: float = 0.0

    def renew(self, clock: Callable[[], float]) -> None:
        self.again = clock() + self.every
        try:
            self.value, self.problem = self.ask(), None
        except Exception as error:  # noqa: BLE001 - the page shows every failure
            self.problem = (str(error).strip().splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Each program's footprint, and its part of a processor since the look before.

    `control` is this application's memory in bytes, with pages divided among its two processes,
    which share most.
    """

    at: float
    footprints: Mapping[str, Footprint]
    shares: Mapping[str, float]
    control: int | None


class Sight:
    """Looks at the server for the page, and notes the last hour."""

    def __init__(
        self,
        watched: Watched,
        log: RequestLog,
        monitor: Monitor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.watched = watched
        self.history = History()
        self._log = log
        self._marks = Marks(log)
        self._clock = clock
        self._lock = threading.Lock()
        self._asking = Asking(WITHIN)
        self._asked = float("-inf")
        self._processes: Processes | None = None
        self.states = Kept(every=BRIEFLY, ask=lambda: programs.ask(watched.states))
        # Each question has every part asked again. The state of programs is looked at more often.
        self.health = Kept(every=HEALTH, ask=monitor.snapshot)
        self.used = Kept(every=5.0, ask=self._look_at_processes)
        settings = watched.settings
        self.chosen = Kept(every=SHORT, ask=lambda: chosen.ask(watched.topology()))
        self.postgres = Kept(every=SHORT, ask=lambda: stores.postgres(settings))
        self.redis = Kept(every=SHORT, ask=lambda: stores.redis(settings))
        self.updates = Kept(every=SHORT, ask=lambda: database.updates(settings))
        self.destinations = Kept(every=LONG, ask=lambda: database.destinations(settings))
        self.media = Kept(every=LONGEST, ask=lambda: database.media(settings))
        self.budget = Kept(every=LONG, ask=self._budget)

    def _questions(self) -> dict[str, Kept[Any]]:
        """Return the questions of this server by the names that they have on the page."""
        settings = self.watched.settings
        found: dict[str, Kept[Any]] = {
            "supervisor": self.states,
            "health": self.health,
            "budget": self.budget,
        }
        if settings.enable_metrics:
            found["metrics"] = self.chosen
        if stores.uses_postgres(settings):
            found |= {
                "postgres": self.postgres,
                "updates": self.updates,
                "destinations": self.destinations,
                "media": self.media,
            }
        if settings.uses_stores:
            found["redis"] = self.redis
        return found

    def look(self) -> dict[str, str]:
        """Ask again all that is due, all at once. Return the problem of each that has one."""
        self._asked = self._clock()
        number = len(self.watched.topology().here)
        self.health.every = max(HEALTH, number * HEALTH_EACH)
        self.chosen.every = max(SHORT, number * CHOSEN_EACH)
        questions = self._questions()
        # Another page is asking: its answers are good enough, unless there are none at all yet.
        if self._lock.acquire(timeout=0 if self.states.value else WITHIN):
            try:
                self._renew(questions)
                self._note_changes()
                self._log.collect(self.watched.topology())
                self._marks.note(self._clock())
            finally:
                self._lock.release()
        return {name: kept.problem for name, kept in questions.items() if kept.problem}

    def _renew(self, questions: Mapping[str, Kept[Any]]) -> None:
        now = self._clock()
        due = {name: kept for name, kept in questions.items() if kept.again <= now}
        for kept in due.values():
            kept.again = now + kept.every
        # A thread for each, as any may hang. A late answer is there for the next look.
        probes = {name: (lambda kept=kept: kept.renew(self._clock)) for name, kept in due.items()}
        for name, problem in self._asking.ask(probes).items():
            if problem is not None:
                due[name].problem = problem
        if self.used.again <= now:
            self.used.renew(self._clock)

    def _note_changes(self) -> None:
        health = self.health.value
        word = None if health is None else health.verdict.sentence()
        if self.states.value is not None:
            self.history.look(time.time(), self.states.value, word)

    def rates(self) -> tuple[Mapping[str, Rate], Mapping[str, Rate], Rate]:
        """Return the rates of routes, of workers and of all: traffic.Marks."""
        return self._marks.rates()

    def note(self) -> None:
        """Add a point to the last hour. While nobody looks, only what costs little is asked."""
        with self._lock:
            self._log.collect(self.watched.topology())
            self._marks.note(self._clock())
            self.states.renew(self._clock)
            self.used.renew(self._clock)
            self._note_changes()
            _, _, total = self._marks.rates()
            values = {"requests": total.requests, "failed": total.failed}
            if total.median is not None and total.slow is not None:
                values |= {"median": total.median, "slow": total.slow}
            if self._processes is not None and self._processes.shares:
                values["processor"] = sum(self._processes.shares.values())
                for name, share in self._processes.shares.items():
                    values[f"processor of {name}"] = share
            if self._clock() - self._asked < LOOKED_AT and self.postgres.value is not None:
                values["connections"] = sum(self.postgres.value.connections.values())
                values["database"] = self.postgres.value.size
            self.history.add(time.time(), values)

    def run(self) -> None:
        """Note a point again and again."""
        while True:
            time.sleep(EVERY)
            self.note()

    def _look_at_processes(self) -> Processes:
        found = self.states.value
        running = {} if found is None else found.programs
        now = self._clock()
        seen = {name: footprint(item.pid) for name, item in running.items() if item.pid}
        footprints = {name: item for name, item in seen.items() if item is not None}
        before = self._processes
        shares: dict[str, float] = {}
        if before is not None and now - before.at > 1.0:
            for name, item in footprints.items():
                earlier = before.footprints.get(name)
                # A process that has been replaced begins at 0; so do its children that ended.
                if earlier is not None and item.processor >= earlier.processor:
                    used = item.processor - earlier.processor
                    shares[name] = used / (now - before.at)
        own = usage(running["control"].pid) if "control" in footprints else None
        self._processes = Processes(
            at=now,
            footprints=footprints,
            shares=shares,
            control=None if own is None else own.memory,
        )
        return self._processes

    def _budget(self) -> dict[str, Any]:
        path = Path(self.watched.settings.paths.conf_file("budget.json"))
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
