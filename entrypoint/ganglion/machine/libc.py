"""Functions of the C library that Python has no module for."""

import ctypes
import os

# linux/prctl.h
PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
PR_SET_NO_NEW_PRIVS = 38


def prctl(option: int, value: object = 0) -> int:
    """Read or set an attribute of this process: prctl(2). Raises OSError."""
    return called("prctl", option, value, 0, 0, 0)


def called(function: str, *arguments: object) -> int:
    """Call a function of the C library. Raises OSError for a negative result."""
    result = int(getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
