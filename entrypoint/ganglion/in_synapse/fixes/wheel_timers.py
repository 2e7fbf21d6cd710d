"""Let a clock that was wrong by years stop no process.

A wheel of timers has an entry for each five seconds up to its last one. If the clock is set forward
by years, as on a machine without a battery for its clock, or the database has times of such a
future, a new timer needs hundreds of millions of entries: the process makes them for minutes, and
takes gigabytes. Here all that a wheel holds is due at once after such a step, and nothing is due
later than after a week: whatever is given too early looks at the clock itself.
"""

from typing import Any

from synapse.util.wheel_timer import WheelTimer, _Entry

from ganglion.in_synapse.fixes.source import digest

# It is about further entries that are not needed. No issue is about these.
REFERENCE = "https://github.com/element-hq/synapse/pull/17850"

# Entries. Synapse looks every 15 seconds, which is three, and warns of ten that are due.
MOST_DUE = 720
MOST = 7 * 24 * 720


def fits() -> bool:
    """Return whether a wheel is as this module knows it."""
    return digest(WheelTimer.insert) == "473b23fbe7a5abdd"


def apply() -> None:
    """Have each wheel follow the clock."""
    replaced: Any = WheelTimer
    original = replaced.insert

    def insert(wheel: WheelTimer[Any], now: int, obj: Any, then: int) -> None:
        width = wheel.bucket_size.as_millis()
        now_key = int(now / width)
        if wheel.entries and wheel.entries[-1].end_key < now_key - MOST_DUE:
            due = set().union(*(entry.elements for entry in wheel.entries))
            wheel.entries = [_Entry(now_key + 1, due)]
        original(wheel, now, obj, min(then, now + int(MOST * width)))

    replaced.insert = insert
