"""Keep what forked processes share shared: memory that nobody writes to is there once.

CPython counts references in the objects themselves, so that even to look at one writes to its page,
and the kernel then copies the page for that process. Objects that live as long as the process need
no count: since 3.12 CPython leaves a count alone that is marked immortal (PEP 683), as it does for
None. Here everything that was imported is marked so.
"""

import ctypes
import gc
import platform
import sys

# _Py_IMMORTAL_REFCNT of CPython 3.12 and 3.13 on 64 bits: the lower half of the count is full.
# Include/refcount.h; 3.14 counts differently.
IMMORTAL = 0xFFFFFFFF
KNOWN = ((3, 12), (3, 13))
# How many objects are asked at once for what they refer to.
STEP = 20_000


def possible() -> bool:
    """Whether this Python is one whose counts are known, and None's is as it should be there."""
    return (
        platform.python_implementation() == "CPython"
        and sys.version_info[:2] in KNOWN
        and ctypes.sizeof(ctypes.c_void_p) == 8
        and sys.byteorder == "little"
        and ctypes.c_uint32.from_address(id(None)).value == IMMORTAL
    )


def immortalise() -> int:
    """Mark every object that can be reached from Python as immortal. Returns how many.

    Does nothing, and returns 0, where it is not possible. None of them is ever freed again, so this
    is for once, when all is imported that stays.
    """
    if not possible():
        return 0
    tracked = gc.get_objects()
    identities = set(map(id, tracked))
    # What the collector does not know of, such as strings and code, is reached from what it knows.
    for start in range(0, len(tracked), STEP):
        reached = gc.get_referents(*tracked[start : start + STEP])
        identities.update(map(id, reached))
        identities.update(map(id, gc.get_referents(*filter(_holds_untracked, reached))))
    count = ctypes.c_uint32.from_address
    for identity in identities:
        count(identity).value = IMMORTAL
    return len(identities)


def _holds_untracked(item: object) -> bool:
    """Whether it may be a container that the collector passes over, as nothing in it has parts."""
    return type(item) in (tuple, dict) and not gc.is_tracked(item)


def share() -> None:
    """Prepare everything there is for being shared with processes forked from here on."""
    gc.collect()
    immortalise()
    # Out of the collector's sight, lest a child's collection write to every object's header.
    gc.freeze()
    # Preloading has switched it off; what comes from now on is small, and is collected.
    gc.enable()
