"""Each fix of Synapse fits the installed one, and is dropped where it does not."""

import gc
import multiprocessing
import threading
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from synapse.handlers.worker_lock import WaitingLock, WaitingMultiLock
from synapse.http.site import SynapseSite
from synapse.logging.context import PreserveLoggingContext
from synapse.metrics import install_gc_manager
from synapse.metrics._reactor_metrics import CallWrapper
from synapse.storage.databases.main.events_worker import EventsWorkerStore
from synapse.storage.databases.main.lock import LockStore
from synapse.util import stringutils
from synapse.util.clock import Clock
from synapse.util.duration import Duration
from synapse.util.wheel_timer import WheelTimer
from twisted.internet import defer, reactor
from twisted.internet.task import Clock as Timer
from twisted.python.threadpool import ThreadPool
from twisted.web.http import HTTPFactory

from ganglion.in_synapse import fixes
from ganglion.in_synapse.fixes.thread_shortage import keep_work
from ganglion.settings.fix_names import ALL, FIXES
from ganglion.settings.fixes import as_text

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(fixes.__file__).parent
FORK = multiprocessing.get_context("fork")


def applied(text: str | None) -> tuple[fixes.Outcome, tuple[str, ...]]:
    """Apply fixes; return the outcome and the applied fixes that fit a second time."""
    outcome = fixes.apply(text)
    return outcome, tuple(name for name in outcome.applied if fixes.load(name).fits())


def in_a_child(text: str | None) -> tuple[fixes.Outcome, tuple[str, ...]]:
    """Apply fixes in a process of their own: this one's Synapse must stay as it is."""
    with FORK.Pool(1) as pool:
        return pool.apply(applied, (text,))


def test_each_name_has_a_module() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "source"}
    assert modules == set(FIXES)


def test_each_fix_is_documented() -> None:
    page = (ROOT / "docs" / "fixes.md").read_text(encoding="utf-8")
    for name in ALL:
        assert f"`{name}`" in page
        assert fixes.load(name).REFERENCE.startswith("https://")
        assert fixes.load(name).REFERENCE in page


def test_each_fix_fits_the_installed_synapse() -> None:
    # One that does not fit is dropped when a server starts. Compare its module with the new source:
    # remove the fix, or write it anew.
    assert fixes.fitting() == set(ALL)


def test_all_are_applied_unless_chosen_otherwise() -> None:
    outcome, _ = in_a_child(None)
    assert outcome == fixes.Outcome(applied=ALL, unfit=(), left_out=())
    outcome, _ = in_a_child(",".join(ALL[1:]))
    assert outcome == fixes.Outcome(applied=ALL[1:], unfit=(), left_out=ALL[:1])
    outcome, _ = in_a_child(as_text(()))
    assert outcome == fixes.Outcome(applied=(), unfit=(), left_out=ALL)


def test_what_has_changed_no_longer_fits() -> None:
    # A function that a fix has changed is no longer the one that the fix was written for.
    _, still_fit = in_a_child(None)
    assert still_fit == ()


def test_the_log_line_names_what_was_applied_and_what_was_not() -> None:
    outcome = fixes.Outcome(applied=("a", "b"), unfit=("c",), left_out=("d",))
    assert outcome.line() == (
        "applied fixes of Synapse: a, b; this Synapse no longer needs or fits: c;"
        " left out by GANGLION_FIXES: d"
    )
    nothing = fixes.Outcome(applied=(), unfit=(), left_out=())
    assert nothing.line() == "applied fixes of Synapse: none"


class Fetches:
    """The parts of Synapse's store that its thread for events uses, with no request waiting."""

    USE_DEDICATED_DB_THREADS_FOR_EVENT_FETCHING: bool

    def __init__(self, *, dedicated: bool) -> None:
        self.USE_DEDICATED_DB_THREADS_FOR_EVENT_FETCHING = dedicated
        self.database_engine = SimpleNamespace(single_threaded=False)
        self._event_fetch_list: list[object] = []
        self._event_fetch_lock = self
        self.waits = 0

    def __enter__(self) -> None:
        """Lock."""

    def __exit__(self, *_: object) -> None:
        """Unlock."""

    def wait(self, _seconds: float) -> None:
        self.waits += 1


def waits(text: str | None) -> int:
    """Return how often a thread without work waits before it gives its connection back."""
    fixes.apply(text)
    fetches = Fetches(dedicated=EventsWorkerStore.USE_DEDICATED_DB_THREADS_FOR_EVENT_FETCHING)
    loop: Any = EventsWorkerStore._fetch_loop
    loop(fetches, None)
    return fetches.waits


def test_a_thread_that_has_fetched_events_gives_its_connection_back_at_once() -> None:
    with FORK.Pool(1) as pool:
        assert pool.apply(waits, ("device_list_wakes",)) > 0
    with FORK.Pool(1) as pool:
        assert pool.apply(waits, (None,)) == 0


def next_calls(text: str | None) -> tuple[float, bool]:
    """Return the seconds until the collection of garbage wakes an idle process, and whether one
    that has worked collects garbage before it waits again.
    """
    fixes.apply(text)
    install_gc_manager()
    timers: Any = reactor
    first = min(call.getTime() for call in timers.getDelayedCalls()) - timers.seconds()
    for _ in range(2 * gc.get_threshold()[0]):
        circle: list[object] = []
        circle.append(circle)
    before = gc.get_count()[0]
    CallWrapper(int)()
    return first, gc.get_count()[0] < before


def test_work_waits_while_no_thread_can_be_started() -> None:
    """It would be lost: its Deferred never fires, so that its request gets no response."""
    threads = ThreadPool(0, 2)
    clock = Timer()
    keep_work(threads, clock.callLater)
    may_start = [False]
    done: list[int] = []

    class Refused(threading.Thread):
        def start(self) -> None:
            if not may_start[0]:
                raise RuntimeError("can't start new thread")
            super().start()

    threads.threadFactory = Refused
    threads.start()
    for number in range(5):
        threads.callInThread(done.append, number)
    # One timer for all of them.
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(1)
    assert (done, threads.threads) == ([], [])
    may_start[0] = True
    clock.advance(1)
    threads.stop()
    assert sorted(done) == list(range(5))
    assert not clock.getDelayedCalls()


def test_the_collection_of_garbage_wakes_no_idle_process() -> None:
    with FORK.Pool(1) as pool:
        first, collected = pool.apply(next_calls, ("device_list_wakes",))
        assert first < 0.2
        assert not collected
    with FORK.Pool(1) as pool:
        first, collected = pool.apply(next_calls, (None,))
        assert first > 30
        assert collected


def periodic_calls(text: str | None) -> tuple[int, dict[float, list[float]]]:
    """Return how often some periodic calls wake a process in a minute, and when each was made."""
    fixes.apply(text)
    timer: Any = Timer()
    clock: Any = Clock(timer, server_name="test")
    made: dict[float, list[float]] = {}
    for interval in (5.0, 10.0, 15.0, 30.0, 3.0, 12.0):
        timer.advance(0.37)
        began, times = timer.seconds(), made.setdefault(interval, [])
        clock.looping_call(
            lambda times=times, began=began: times.append(timer.seconds() - began),
            Duration(seconds=interval),
        )
    ended = timer.seconds() + 60
    wakes = 0
    while (due := min(call.getTime() for call in timer.getDelayedCalls())) < ended:
        timer.advance(due - timer.seconds())
        wakes += 1
    return wakes, made


def test_periodic_calls_wake_a_process_together_and_none_comes_early() -> None:
    with FORK.Pool(1) as pool:
        apart, _ = pool.apply(periodic_calls, ("device_list_wakes",))
    with FORK.Pool(1) as pool:
        together, made = pool.apply(periodic_calls, (None,))
    # A minute has 12 fifths and 20 thirds.
    assert together <= 33
    assert apart > 45
    for interval, times in made.items():
        assert interval <= times[0] <= interval + 5
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps == pytest.approx([interval] * len(gaps), abs=0.01)
        assert len(times) >= 60 // interval - 1


def test_the_time_for_a_log_that_synapse_does_not_use_is_not_written() -> None:
    with FORK.Pool(1) as pool:
        assert pool.apply(dates, ("device_list_wakes",)) == 1
    with FORK.Pool(1) as pool:
        assert pool.apply(dates, (None,)) == 0


def dates(text: str | None) -> int:
    """Return how many timers an HTTP listener of Synapse starts."""
    fixes.apply(text)
    site = SynapseSite.__new__(SynapseSite)
    timer: Any = Timer()
    HTTPFactory.__init__(site, reactor=timer)
    site.startFactory()
    return len(timer.getDelayedCalls())


class Handler:
    """Synapse's handler of locks, as far as a lock that is released uses it."""

    _instance_name = "reader"

    def __init__(self) -> None:
        self.told: list[str] = []

    def notify_lock_released(self, _name: str, _key: str) -> None:
        self.told.append("everybody")

    def _on_lock_released(self, _instance: str, _name: str, _key: str) -> None:
        self.told.append("this process")


class Held:
    """A lock in the database."""

    async def __aexit__(self, *_: object) -> None:
        """Release it."""


def told(text: str | None, *, write: bool | None) -> list[str]:
    """Return the processes that hear of the release of a lock."""
    fixes.apply(text)
    handler = Handler()
    lock = WaitingLock(
        clock=cast("Any", None),
        store=cast("Any", None),
        handler=cast("Any", handler),
        lock_name="purge",
        lock_key="!room",
        write=write,
        lock_span=cast("Any", SimpleNamespace(__exit__=lambda *_: None)),
        inner_lock=cast("Any", Held()),
    )
    defer.ensureDeferred(cast("Any", lock.__aexit__(None, None, None)))
    return handler.told


def test_only_a_lock_for_writing_is_released_before_all_processes() -> None:
    for text, write, expected in (
        ("device_list_wakes", False, ["everybody"]),
        (None, False, ["this process"]),
        (None, True, ["everybody"]),
        (None, None, ["everybody"]),
    ):
        with FORK.Pool(1) as pool:
            assert pool.apply(told, (text,), {"write": write}) == expected


def longest_wait(text: str | None, *, write: bool) -> float:
    """Return how long one who waits for a lock sleeps at last."""
    fixes.apply(text)
    lock: Any = WaitingMultiLock.__new__(WaitingMultiLock)
    lock._timeout_interval, lock.write = 0.1, write
    for _ in range(10):
        lock._increment_timeout_interval()
    return float(lock._timeout_interval)


def test_who_waits_for_readers_looks_twice_a_second() -> None:
    with FORK.Pool(1) as pool:
        assert pool.apply(longest_wait, (None,), {"write": True}) == 0.5
    with FORK.Pool(1) as pool:
        assert pool.apply(longest_wait, (None,), {"write": False}) > 3


def names(text: str | None) -> tuple[list[str], bool]:
    """Return names of two changes of context, and whether other random strings remain random."""
    fixes.apply(text)
    changes: list[Any] = [PreserveLoggingContext(), PreserveLoggingContext()]
    again = stringutils.random_string_insecure_fast(9) != stringutils.random_string_insecure_fast(9)
    return [change._instance_id for change in changes], again


def test_a_change_of_context_is_named_by_a_number() -> None:
    with FORK.Pool(1) as pool:
        drawn, _ = pool.apply(names, ("device_list_wakes",))
        assert [len(name) for name in drawn] == [5, 5]
        assert not any(name.isdigit() for name in drawn)
    with FORK.Pool(1) as pool:
        (first, second), again = pool.apply(names, (None,))
        assert int(second) == int(first) + 1
        assert again


def reaps(text: str | None, *, app: str | None, background: bool) -> int:
    """Return how often a process begins to delete stale locks when its time has come."""
    fixes.apply(text)
    begun: list[object] = []
    store: Any = LockStore.__new__(LockStore)
    worker = SimpleNamespace(run_background_tasks=background, worker_app=app)
    store.hs = SimpleNamespace(
        config=SimpleNamespace(worker=worker),
        run_as_background_process=lambda *_, **__: begun.append(None),
    )
    store._reap_stale_read_write_locks()
    return len(begun)


def test_one_process_deletes_the_locks_of_ended_ones() -> None:
    app = "synapse.app.generic_worker"
    for text, named, expected in (
        ("device_list_wakes", {"app": app, "background": False}, 1),
        (None, {"app": app, "background": False}, 0),
        (None, {"app": app, "background": True}, 1),
        (None, {"app": None, "background": False}, 1),
    ):
        with FORK.Pool(1) as pool:
            assert pool.apply(reaps, (text,), named) == expected


YEARS = 56 * 365 * 24 * 3600 * 1000
OFTEN = 5000


def wheel_after(step: int, further: int) -> tuple[int, list[list[str]]]:
    """Set the clock by `step` ms. Return a wheel's entries, and what it gives every 5 s.

    A third timer comes `further` ms after the step.
    """
    fixes.load("wheel_timers").apply()
    wheel: WheelTimer[str] = WheelTimer()
    now = 1_000_000
    wheel.insert(now, "before", now + 60_000)
    now += step
    # As the handler of presence calls it.
    wheel.insert(now=now, obj="after", then=now + 20_000)
    wheel.insert(now, "far", now + further)
    entries = len(wheel.entries)
    return entries, [wheel.fetch(now + later) for later in range(OFTEN, 16 * OFTEN, OFTEN)]


@pytest.mark.parametrize(
    ("step", "further", "most", "order"),
    [
        (0, 70_000, 20, ["after", "before", "far"]),
        (YEARS, 70_000, 20, ["before", "after", "far"]),
        (0, YEARS, 7 * 24 * 720 + 20, ["after", "before"]),
    ],
    ids=["no step", "clock set forward", "time of another future"],
)
def test_no_step_of_the_clock_makes_a_wheel_large(
    step: int, further: int, most: int, order: list[str]
) -> None:
    with FORK.Pool(1) as pool:
        entries, given = pool.apply(wheel_after, (step, further))
    assert entries < most
    assert [*chain(*given)] == order
    assert given[4] == ["after"]
