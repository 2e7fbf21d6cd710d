"""Attributes of this process that concern its privileges: prctl(2), capabilities(7)."""

import ctypes

from ganglion.machine.libc import (
    PR_GET_DUMPABLE,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    called,
    prctl,
)

# linux/capability.h: the version of the structures below, and CAP_KILL.
CAPABILITY_VERSION = 0x20080522
CAP_KILL = 5


class _Header(ctypes.Structure):
    """A process, of which 0 is this one: __user_cap_header_struct."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """32 of the capabilities, as bits: __user_cap_data_struct."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def no_new_privileges() -> None:
    """Have setuid programs and file capabilities ignored, here and in every later child.

    Root can still change to other accounts. Raises OSError.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def is_dumpable() -> bool:
    """Whether others of this account may look into this process, such as at /proc/PID/root."""
    return prctl(PR_GET_DUMPABLE) == 1


def set_dumpable() -> None:
    """Undo the kernel's protection of a process that changed its effective user ID.

    Otherwise a root without CAP_SYS_PTRACE, as in a container, could not enter /proc/PID/root.
    """
    prctl(PR_SET_DUMPABLE, 1)


def may_signal() -> None:
    """Let this process signal others of any account again, if it may: capset(2), CAP_KILL.

    A change of the effective user ID has taken that. The kernel needs it too, for the signals that
    it sends to the children when this process ends. Raises OSError.
    """
    header = _Header(version=CAPABILITY_VERSION)
    sets = (_Sets * 2)()
    called("capget", ctypes.byref(header), sets)
    sets[0].effective |= sets[0].permitted & 1 << CAP_KILL
    called("capset", ctypes.byref(header), sets)
