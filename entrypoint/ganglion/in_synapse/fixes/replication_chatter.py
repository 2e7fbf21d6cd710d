"""Tell other processes only what they can use.

A message in a room makes every process handle four commands over Redis: the event, two releases of
a lock, and the position of the event persister that did not write it. The locks are taken for
reading, so their release matters only to a process that wants to purge the room's history. The
position is known from the event; it is needed only after a gap, for which a timer sends it once a
second. Here both are no longer sent. A process that waits for a lock to write tries again at least
twice a second, because nothing tells it of readers that have finished.
"""

from typing import Any

from synapse.handlers.worker_lock import WaitingLock, WaitingMultiLock, WorkerLocksHandler
from synapse.replication.tcp.resource import ReplicationStreamer
from synapse.replication.tcp.streams import EventsStream
from synapse.util.duration import Duration

from ganglion.in_synapse.fixes.source import digest

# It dropped such positions of another stream, and says why.
REFERENCE = "https://github.com/matrix-org/synapse/pull/16557"

# In seconds: how long a process that waits for readers sleeps between two attempts.
LONGEST_WAIT = 0.5


def fits() -> bool:
    """Return whether all releases and positions are sent."""
    return (
        digest(WaitingLock.__aexit__) == "574dc6199df2e999"
        and digest(WaitingLock._increment_timeout_interval) == "7d06f1f2e02a0956"
        and digest(WaitingMultiLock._increment_timeout_interval) == "7d06f1f2e02a0956"
        and digest(WorkerLocksHandler.notify_lock_released) == "c80d7bf2339eae40"
        and digest(ReplicationStreamer.__init__) == "85b7adbefb2568f3"
        and digest(ReplicationStreamer.on_notifier_poke) == "97a4e09dd29e5acc"
    )


def apply() -> None:
    """Send neither releases of locks for reading, nor positions that an event has brought."""
    _quiet_locks(WaitingLock)
    for waiting in (WaitingLock, WaitingMultiLock):
        _retry_often(waiting)
    _quiet_positions(ReplicationStreamer)


class Local:
    """The handler of locks, as a lock for reading sees it: it tells this process alone."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def notify_lock_released(self, lock_name: str, lock_key: str) -> None:
        """Wake those who wait in this process."""
        self._handler._on_lock_released(self._handler._instance_name, lock_name, lock_key)


def _quiet_locks(waiting: Any) -> None:
    original = waiting.__aexit__

    async def aexit(self: Any, *error: Any) -> Any:
        if self.write is False:
            self.handler = Local(self.handler)
        return await original(self, *error)

    waiting.__aexit__ = aexit


def _retry_often(waiting: Any) -> None:
    original = waiting._increment_timeout_interval

    def increment(self: Any) -> float:
        interval: float = original(self)
        if self.write:
            interval = self._timeout_interval = min(interval, LONGEST_WAIT)
        return interval

    waiting._increment_timeout_interval = increment


def _quiet_positions(streamer: Any) -> None:
    initialize, poke = streamer.__init__, streamer.on_notifier_poke

    def initialize_with_timer(self: Any, hs: Any) -> None:
        initialize(self, hs)
        self.has_timer = any(stream.NAME == EventsStream.NAME for stream in self.streams)
        if self.has_timer:
            # Synapse's own timer calls the method that is replaced below.
            self.clock.looping_call(lambda: poke(self), Duration(seconds=1))

    def poke_for_own_writes(self: Any) -> None:
        if (
            self.has_timer
            and self.command_handler.connected()
            and not self.command_handler.should_announce_positions()
            and not any(_has_written(stream, self._instance_name) for stream in self.streams)
        ):
            return
        poke(self)

    streamer.__init__ = initialize_with_timer
    streamer.on_notifier_poke = poke_for_own_writes


def _has_written(stream: Any, instance: str) -> bool:
    """Return whether this process may have written to a stream since it last said so."""
    if stream.last_token == stream.current_token(instance):
        return False
    # Rows of others move the position of a stream with several writers too.
    return bool(stream.minimal_local_current_token() > stream.last_token)
