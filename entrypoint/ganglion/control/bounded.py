"""Ask probes at the same time, and wait for none of them without limit."""

import threading
import time
from collections.abc import Callable, Mapping

Probe = Callable[[], str | None]


class Bounded:
    """Asks probes, each in a thread of its own.

    A probe may hang for ever, such as a look at a file system of another machine that is gone. It
    is then faulty, and is not asked again before it has answered.
    """

    def __init__(self) -> None:
        self._threads: dict[str, threading.Thread] = {}

    def ask(self, probes: Mapping[str, Probe], within: float) -> dict[str, str | None]:
        """Return the problem of each probe, or None. Wait for `within` seconds at most."""
        until = time.monotonic() + within
        found: dict[str, str | None] = {}
        for name, probe in probes.items():
            before = self._threads.get(name)
            if before is None or not before.is_alive():
                thread = threading.Thread(target=_work, args=(name, probe, found), daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    # The container has as many threads as it may have.
                    found[name] = f"cannot be asked: {error}"
                    continue
                self._threads[name] = thread
        for name in probes:
            if name in self._threads:
                self._threads[name].join(max(0.0, until - time.monotonic()))
        # A copy, because a late answer may still arrive.
        answers = dict(found)
        return {
            name: answers.get(name, f"does not answer: no response within {within:g} s")
            for name in probes
        }


def _work(name: str, probe: Probe, found: dict[str, str | None]) -> None:
    try:
        found[name] = probe()
    except Exception as error:  # noqa: BLE001 - an unknown failure is a problem of this part
        found[name] = f"cannot be asked: {type(error).__name__}: {error}"
