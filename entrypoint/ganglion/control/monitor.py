"""The state of the server, kept fresh in the background while somebody asks for it."""

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from ganglion.control import programs
from ganglion.control.asking import MOST, Asking, Probe
from ganglion.control.client import TIMEOUT
from ganglion.control.config import Watched
from ganglion.control.health import probes
from ganglion.control.lag import Lags
from ganglion.control.probes import replication
from ganglion.control.snapshot import Snapshot, assemble
from ganglion.control.verdict import Verdict, Word
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

# In seconds, from one round to the next: while somebody asks often, while somebody asks rarely as
# the image's health check does, and while something is wrong and somebody asks often.
EVERY, RARELY, SOON = 2.0, 12.0, 1.0
# In seconds. Nobody asks if the last question is older than this. Then there are no rounds.
KEPT = 60.0
# The first question after a silence waits for the answers of a round. So many may wait at once,
# each in a thread; others get the answers so far.
WAITERS = 4


class Monitor:
    """Asks every part in rounds, in a thread that sleeps while nobody asks."""

    def __init__(
        self,
        watched: Watched,
        clock: Callable[[], float] = time.monotonic,
        parts: Callable[[Settings, Topology], Mapping[str, Probe]] = probes,
        hear: Callable[[Verdict], None] = lambda _: None,
    ) -> None:
        """`hear` is called with each verdict."""
        self._hear = hear
        self._watched = watched
        self._clock = clock
        self._parts = parts
        self._asking = Asking(clock=clock)
        self._lags = Lags()
        self._late: Mapping[str, Mapping[str, float]] = MappingProxyType({})
        self._states: programs.States | None = None
        # The parts of the last round, and the layout that they are of.
        self._names: tuple[str, ...] = ()
        self._topology: Topology | None = None
        # When a question came last, how long the one before was ago, when the last round began, and
        # when the first one of this time of questions.
        self._asked, self._gap = -KEPT, KEPT
        self._began = self._fresh = -KEPT
        self._well = True
        self._wake = threading.Condition()
        self._waiting = threading.Semaphore(WAITERS)
        self._thread: threading.Thread | None = None

    def snapshot(self) -> Snapshot:
        """Return all answers. They are there at once if a question came within the last minute."""
        with self._wake:
            now = self._clock()
            self._gap, self._asked = now - self._asked, now
            # After a change of the layout, the answers may be those of processes that are gone.
            changed = self._watched.topology() != self._topology
            if self._gap > KEPT or self._thread is None or changed:
                self._fresh = now
                self._round()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="monitor")
                self._thread.start()
            self._wake.notify_all()
            fresh = self._fresh
        if now - fresh < MOST and self._waiting.acquire(blocking=False):
            # At most MOST seconds, and no time at all once each part has answered.
            try:
                self._asking.wait(fresh)
            finally:
                self._waiting.release()
        return self._known(fresh)

    def _known(self, fresh: float) -> Snapshot:
        """Put the answers of rounds since `fresh` together."""
        now, names = self._clock(), self._names
        found = self._asking.found(fresh)
        late = now - self._began - RARELY
        if late > MOST:
            # No thread can be started, or this machine stood still.
            found = {
                name: replace(item, problem=f"was not asked for {now - item.asked:.0f} s")
                for name, item in found.items()
            }
        topology = self._watched.topology()
        snapshot = assemble(now, names, found, self._states, self._late, topology)
        self._well = snapshot.verdict.word is Word.READY
        self._hear(snapshot.verdict)
        return snapshot

    def _run(self) -> None:
        while True:
            with self._wake:
                try:
                    left = self.step()
                except Exception:  # noqa: BLE001 - whatever it is, it may end
                    traceback.print_exc()
                    left = SOON
                self._wake.wait(left)

    def step(self) -> float:
        """Begin a round if it is time for one. Return the seconds until it may be time again."""
        with self._wake:
            if (left := self._left()) <= 0:
                self._round()
                left = self._left()
            return left

    def _left(self) -> float:
        """Return the seconds until the next round."""
        now = self._clock()
        quiet = now - self._asked
        if quiet > KEPT:
            # Until a question wakes it.
            return KEPT
        every = min(max(self._gap, quiet, EVERY), RARELY)
        return self._began + (every if self._well or every > EVERY else SOON) - now

    def _round(self) -> None:
        """Begin to ask every part. Waits for none."""
        topology, settings = self._watched.topology(), self._watched.settings
        asked: dict[str, Probe] = {
            **self._parts(settings, topology),
            "supervisor": self._supervisor,
        }
        if settings.enable_metrics:
            asked["streams"] = lambda: self._streams(topology)
        self._names, self._topology = tuple(asked), topology
        self._asking.begin(asked)
        self._began = self._clock()

    def _supervisor(self) -> str | None:
        try:
            self._states = programs.ask(self._watched.states)
        except (OSError, ValueError) as error:
            self._states = None
            return f"does not answer: {error}"
        return None

    def _streams(self, topology: Topology) -> None:
        found = replication.positions(topology, TIMEOUT)
        self._late = MappingProxyType(self._lags.look(found, self._clock()))
