"""What this Python can do for memory that processes share."""

import ctypes
import platform
import sys

# _Py_IMMORTAL_REFCNT of CPython 3.12 and 3.13 on 64 bits: the lower half of the count is full.
# Include/refcount.h; 3.14 counts differently.
IMMORTAL = 0xFFFFFFFF
KNOWN = ((3, 12), (3, 13))


def can_share_objects() -> bool:
    """Whether this Python is one whose counts are known, and None's is as it should be there."""
    return (
        platform.python_implementation() == "CPython"
        and sys.version_info[:2] in KNOWN
        and ctypes.sizeof(ctypes.c_void_p) == 8
        and sys.byteorder == "little"
        and ctypes.c_uint32.from_address(id(None)).value == IMMORTAL
    )
