"""Attributes of this process that concern its privileges: prctl(2)."""

import ctypes
import os

# linux/prctl.h
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
PR_SET_NO_NEW_PRIVS = 38


def no_new_privileges() -> None:
    """Have setuid programs and file capabilities ignored, here and in every later child.

    Root can still change to other accounts. Raises OSError.
    """
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def is_dumpable() -> bool:
    """Whether others of this account may look into this process, such as at /proc/PID/root."""
    return _prctl(PR_GET_DUMPABLE, 0) == 1


def set_dumpable() -> None:
    """Undo the kernel's protection of a process that changed its effective user ID.

    Otherwise a root without CAP_SYS_PTRACE, as in a container, could not enter /proc/PID/root.
    """
    _prctl(PR_SET_DUMPABLE, 1)


def _prctl(option: int, value: int) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
