"""Fork a child that a signal can end from its first moment.

A fork copies the parent's signal handlers. Python's only note a signal, for a loop that the child
does not run, and the next execve(2) forgets the note. So a signal in the first milliseconds of a
child would be lost: it would survive its parent's death, or a stop.
"""

import os
import signal


def fork() -> int:
    """Fork as fork(2) does, with the default handlers in the child. Raises OSError as that does.

    What the parent ignores, the child ignores too, as Python's other children do.
    """
    # No signal arrives in the child before its handlers are the default ones.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals():
                if callable(signal.getsignal(number)):
                    signal.signal(number, signal.SIG_DFL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid
