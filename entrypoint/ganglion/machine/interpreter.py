"""Whether this Python interpreter can leave shared memory unwritten."""

import ctypes
import platform
import sys

# _Py_IMMORTAL_REFCNT of CPython 3.12 and 3.13 on 64-bit machines: all bits of the lower half of the
# reference count are set. See Include/refcount.h. CPython 3.14 uses another layout.
IMMORTAL = 0xFFFFFFFF
KNOWN = ((3, 12), (3, 13))


def can_share_objects() -> bool:
    """Return whether reference counts have the known layout, checked with that of None."""
    return (
        platform.python_implementation() == "CPython"
        and sys.version_info[:2] in KNOWN
        and ctypes.sizeof(ctypes.c_void_p) == 8
        and sys.byteorder == "little"
        and ctypes.c_uint32.from_address(id(None)).value == IMMORTAL
    )
