"""Time that only moves forward, for supervisord.

supervisord compares values of time.time(). After a step of the clock (no clock battery, then NTP)
it took programs for running that were not ready, and delayed restarts by the size of the step.
"""

import time
from types import SimpleNamespace

from supervisor import process, rpcinterface, supervisord

# The date of the start. Later times are this plus the monotonic clock's.
_OFFSET = time.time() - time.monotonic()


def now() -> float:
    """Return seconds since the epoch as of the start of this process; steps are ignored."""
    return _OFFSET + time.monotonic()


def install() -> None:
    """Have supervisord use this clock. Its log lines keep the real time."""
    steady = SimpleNamespace(**{**vars(time), "time": now})
    for module in (process, rpcinterface, supervisord):
        module.time = steady
