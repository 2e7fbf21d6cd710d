"""Privileges that no process started from here can gain."""

import ctypes
import os

# linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38


def no_new_privileges() -> None:
    """Have setuid programs and file capabilities ignored, here and in every later child.

    Root can still change to other accounts. Raises OSError.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
