"""Tell other processes of a released lock only if they can use it.

A message in a room makes every process handle two releases of a lock over Redis. These locks are
taken for reading, so their release matters only to a process that wants to purge the room's
history. Here they are no longer sent. A process that waits for a lock to write tries again at least
twice a second, because nothing tells it of readers that have finished.
"""

from typing import Any

from synapse.handlers.worker_lock import WaitingLock, WaitingMultiLock, WorkerLocksHandler

from ganglion.in_synapse.fixes.source import digest

# It bounds the time after which a process that waits for a lock tries again.
REFERENCE = "https://github.com/element-hq/synapse/pull/19394"

# In seconds: how long a process that waits for readers sleeps between two attempts.
LONGEST_WAIT = 0.5


def fits() -> bool:
    """Return whether all releases are sent."""
    return (
        digest(WaitingLock.__aexit__) == "574dc6199df2e999"
        and digest(WaitingLock._increment_timeout_interval) == "7d06f1f2e02a0956"
        and digest(WaitingMultiLock._increment_timeout_interval) == "7d06f1f2e02a0956"
        and digest(WorkerLocksHandler.notify_lock_released) == "c80d7bf2339eae40"
    )


def apply() -> None:
    """Send no releases of locks for reading."""
    _quiet_locks(WaitingLock)
    for waiting in (WaitingLock, WaitingMultiLock):
        _retry_often(waiting)


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
