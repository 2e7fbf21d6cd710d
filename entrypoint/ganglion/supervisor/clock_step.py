"""Restart Synapse's processes after the clock was set back.

Synapse keeps the times of its timers and rate limits in memory, by the time of day. After a step
back by an hour, none of its timers comes for an hour, and logins are refused for as long. Its next
processes begin with the time that is right. docs/decisions/0059-clock-that-is-set-back.md
"""

import time
from collections.abc import Callable, Iterable, Mapping

from supervisor.options import ProcessException
from supervisor.states import ProcessStates

from ganglion.supervisor.lack import is_lack
from ganglion.supervisor.program import GatedProcess
from ganglion.topology.names import MAIN

# In seconds. A smaller step delays nothing for longer than this.
LEAST = 10.0


class StepsBack:
    """Looks for steps back, and restarts the processes of `programs` one after the other.

    `report` gets a line about each step. `time_of_day` and `steady` return seconds.
    """

    def __init__(
        self,
        programs: Mapping[str, GatedProcess],
        report: Callable[[str], None],
        time_of_day: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._programs = programs
        self._report = report
        self._time_of_day, self._steady = time_of_day, steady
        self._before = self._difference()
        # The processes that began before the last step, by program. Main is the last.
        self._old: dict[str, int] = {}
        # The one that a restart was begun for.
        self._begun = ""

    def look(self) -> None:
        """Note a step, or go on with the restart. Called each second. Raises OSError for a lack."""
        now = self._difference()
        back, self._before = self._before - now, now
        if back >= LEAST:
            self._old, self._begun = dict(self._processes()), ""
            self._report(
                f"the clock was set back by {back:.0f} s: Synapse's processes are restarted, one"
                " after the other, because their timers and rate limits would wait for that long"
            )
        while self._old:
            name, pid = next(iter(self._old.items()))
            program = self._programs.get(name)
            # The test controls, or a change of the layout, decide on some.
            if program is not None and not program.held and not program.paused:
                if _is_under_way(program):
                    return
                if program.pid == pid and name != self._begun:
                    self._restart(program)
                    return
            del self._old[name]

    def _difference(self) -> float:
        return self._time_of_day() - self._steady()

    def _processes(self) -> Iterable[tuple[str, int]]:
        for name in sorted(self._programs, key=lambda name: name == MAIN):
            program = self._programs[name]
            if program.config.is_synapse and program.pid:
                yield name, program.pid

    def _restart(self, program: GatedProcess) -> None:
        """Begin with a program. It goes on as it is if there can be no other process."""
        try:
            program.restart()
        except (OSError, ProcessException) as error:
            if isinstance(error, OSError) and is_lack(error):
                raise
            self._report(f"{program.config.name} goes on as it is: {error}")
        self._begun = program.config.name


def _is_under_way(program: GatedProcess) -> bool:
    """Whether the next process of a program is not ready yet, and has not failed to get so."""
    has_failed = program.state in (ProcessStates.BACKOFF, ProcessStates.FATAL)
    return program.restarting or not (program.ready or has_failed)
