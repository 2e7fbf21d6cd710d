"""The machine, or a limit, leaves no descriptor, process or memory for a while."""

import errno
from collections.abc import Callable

LACKS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC}
)
# In seconds, between two lines about it.
REPORTED_EVERY = 60.0


def is_lack(error: OSError) -> bool:
    """Return whether the same may work later."""
    return error.errno in LACKS


class Patience:
    """Does things that are tried again and again, although one may fail for a lack.

    `report` gets a line about it, once in REPORTED_EVERY seconds of `clock`.
    """

    def __init__(self, clock: Callable[[], float], report: Callable[[str], None]) -> None:
        self._clock = clock
        self._report = report
        self._silent_until = clock()

    def attempt(self, act: Callable[[], None]) -> None:
        """Do one of them. Raises OSError for another reason."""
        try:
            act()
        except OSError as error:
            if not is_lack(error):
                raise
            if self._clock() >= self._silent_until:
                self._silent_until = self._clock() + REPORTED_EVERY
                self._report(
                    f"the supervisor is short of something and goes on: {error.strerror}. Raise the"
                    " limits of open files, processes and memory"
                )
