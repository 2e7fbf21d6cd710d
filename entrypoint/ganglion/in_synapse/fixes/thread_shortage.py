"""Have work wait while no thread can be started, instead of losing it.

A container may have a limit of processes, which counts threads. Where a pool of threads cannot
start another one, it forgets the work that was for it, and nobody learns of that: the request never
gets a response. Here the work waits for the next thread of the pool that is free, or for a new one,
which is tried again.
"""

import contextlib
from collections.abc import Callable
from typing import Any

from twisted._threads import AlreadyQuit, Team
from twisted._threads._pool import pool
from twisted.python.threadpool import ThreadPool

from ganglion.in_synapse.fixes.source import digest

# It is about how many threads a pool may start. No issue is about one that cannot be started.
REFERENCE = "https://github.com/twisted/twisted/issues/5298"

# In seconds, until a thread is tried again.
PAUSE = 0.1


def fits() -> bool:
    """Return whether pools of threads are as this module knows them."""
    return (
        digest(pool) == "ca0c6f898251d0f3"
        and digest(Team.grow) == "9e073c31da6fd813"
        and digest(Team._coordinateThisTask) == "30569fd116c9fa28"
        and digest(ThreadPool.__init__) == "5989d1d3940182ab"
    )


def apply() -> None:
    """Have each pool keep its work."""
    replaced: Any = ThreadPool
    original = replaced.__init__

    def begin(threads: ThreadPool, *arguments: Any, **named: Any) -> None:
        original(threads, *arguments, **named)
        keep_work(threads)

    replaced.__init__ = begin


def keep_work(
    threads: ThreadPool, later: Callable[[float, Callable[[], None]], object] | None = None
) -> None:
    """Have a pool keep work for which no thread can be started.

    `later` calls a function after some seconds; the reactor does by default.
    """
    team: Any = threads._team
    create, call_later = team._createWorker, later or _call_later
    is_waiting = False

    def create_or_wait() -> Any:
        nonlocal is_waiting
        try:
            return create()
        except RuntimeError:
            # The pool would wait for the end of a thread that did not begin.
            threads.threads.pop()
            # The team keeps the work. Another of its threads may take it, if it has any.
            if not is_waiting:
                is_waiting = True
                call_later(PAUSE, try_again)
            return None

    def try_again() -> None:
        nonlocal is_waiting
        is_waiting = False
        with contextlib.suppress(AlreadyQuit):
            team.grow(team.statistics().backloggedWorkCount)

    team._createWorker = create_or_wait


def _call_later(seconds: float, function: Callable[[], None]) -> None:
    """Call a function after some seconds, in the reactor's thread; from any thread."""
    from twisted.internet import reactor  # noqa: PLC0415 - the process chooses it at its start

    running: Any = reactor
    running.callFromThread(running.callLater, seconds, function)
