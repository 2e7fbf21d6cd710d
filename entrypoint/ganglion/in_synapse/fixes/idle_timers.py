"""Let a process that has nothing to do sleep.

Each process of Synapse wakes 14 times a second of itself, and a server with the preset `complement`
250 times. Ten of the 14 ask whether garbage is to be collected, one or two write the time for a log
of Twisted's that Synapse does not use, and the others are periodic calls, each with a time of its
own. Here garbage is looked at before a process waits for its next event, at most as often as
before; the time is not written; and periodic calls of 3 s and more share their times.

Every process also asks the database each 12 s to delete locks of processes that ended without
releasing them. One process is enough for that: main, and the one that runs background tasks.
"""

import math
import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from synapse.http.site import SynapseSite
from synapse.metrics import _gc, _reactor_metrics
from synapse.storage.databases.main.lock import LockStore
from synapse.util.clock import Clock
from twisted.internet import task
from twisted.web.http import HTTPFactory

from ganglion.in_synapse.fixes.source import digest

# It introduced the timer for the garbage.
REFERENCE = "https://github.com/matrix-org/synapse/pull/11723"

# In seconds. A process that sleeps makes no garbage; this bounds how long its last remains.
AT_LEAST = 60.0
# In seconds: periodic calls begin at a multiple of the first of these that divides their interval.
GRIDS = (5, 3)


def fits() -> bool:
    """Return whether the timers are as this module knows them."""
    return (
        digest(_gc.install_gc_manager) == "a7aa85a04b29b8c9"
        and digest(_reactor_metrics.CallWrapper.__call__) == "09592a1cdab9eb5d"
        and digest(HTTPFactory._updateLogDateTime) == "7930dda6f3e039fc"
        and digest(SynapseSite.log) == "cc9a74061934f808"
        and digest(Clock._looping_call_common) == "08a8e17394979788"
        and digest(LockStore._reap_stale_read_write_locks) == "d8dbf51d16bf48bd"
    )


def apply() -> None:
    """Replace the timers."""
    site: Any = SynapseSite
    site._updateLogDateTime = _nothing
    module: Any = _gc
    module.task = SimpleNamespace(LoopingCall=BeforeWaiting)
    clock: Any = Clock
    # From 0 to 1, another for each process: they should not all wake at once.
    phase = os.getpid() * 0.618 % 1
    clock._looping_call_common = aligned(clock._looping_call_common, phase)
    store: Any = LockStore
    store._reap_stale_read_write_locks = _by_one(store._reap_stale_read_write_locks)


def _nothing(_site: Any) -> None:
    """Do not write the time."""


class BeforeWaiting:
    """A periodic call that is made when the reactor is about to wait, and never wakes it.

    Synapse wraps the reactor's wait to measure its time, whichever reactor it is.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._interval = math.inf
        self._last = 0.0

    def start(self, interval: float) -> None:
        """Call it at most once in so many seconds."""
        self._interval = interval
        wrapper: Any = _reactor_metrics.CallWrapper
        original = wrapper.__call__

        def call(poll: Any, *args: Any, **kwargs: Any) -> Any:
            self.before_waiting()
            return original(poll, *args, **kwargs)

        wrapper.__call__ = call
        # The reactor may be one that Synapse does not wrap.
        task.LoopingCall(self._function).start(AT_LEAST, now=False)

    def before_waiting(self) -> None:
        """Call the function if its time has come."""
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            self._function()


def _by_one(reap: Callable[..., Any]) -> Callable[..., Any]:
    """Return the deletion of stale locks for one process of all."""

    def reap_here(store: Any) -> Any:
        worker = store.hs.config.worker
        if worker.run_background_tasks or worker.worker_app is None:
            return reap(store)
        return None

    return reap_here


def aligned(original: Callable[..., Any], phase: float) -> Callable[..., Any]:
    """Return Clock._looping_call_common for calls that share their times."""

    def looping_call(clock: Any, function: Any, duration: Any, *rest: Any, **kwargs: Any) -> Any:
        call = original(clock, function, duration, *rest, **kwargs)
        at_once = rest[0]
        if not at_once:
            _align(call, phase)
        return call

    return looping_call


def _align(call: Any, phase: float) -> None:
    """Move the start of a periodic call to the next point of its grid."""
    grid = next((grid for grid in GRIDS if call.interval % grid == 0), None)
    if grid is None or call.call is None:
        return
    begin = (phase + math.ceil(call.starttime / grid - phase)) * grid
    call.call.delay(begin - call.starttime)
    call.starttime = begin
