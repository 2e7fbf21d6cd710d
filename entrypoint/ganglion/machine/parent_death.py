"""End a program when the supervisor dies: prctl(2), PR_SET_PDEATHSIG."""

import ctypes
import os
import signal

from ganglion.machine.libc import PR_GET_PDEATHSIG, PR_SET_PDEATHSIG, prctl


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends.

    Call it in the child, after each change of account, which clears the setting. `parent` is the
    parent's process ID: if it has ended already, the signal is sent now.
    """
    prctl(PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def chosen() -> signal.Signals | None:
    """Return the signal that this process gets when its parent ends."""
    number = ctypes.c_int()
    prctl(PR_GET_PDEATHSIG, ctypes.byref(number))
    return signal.Signals(number.value) if number.value else None
