"""A change of the layout under way: steps in the supervisor's loop, and the way back.

The supervisor carries them out, not the command: a command that is killed leaves no half of a
change. A supervisor that ends meanwhile takes its programs along, and the next start makes
everything anew, from the layout that was recorded last.
"""

import gc
import math
import shlex
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from supervisor.options import ProcessGroupConfig, UnhosedConfigParser
from supervisor.states import ProcessStates

from ganglion.supervisor.change_request import Places, Request
from ganglion.supervisor.fork.shared_config import SharedConfig, read
from ganglion.supervisor.fork.synapse_command import config_files
from ganglion.supervisor.program import GatedConfig, GatedProcess
from ganglion.supervisor.watchdog import children_of

# In seconds. Processes are killed before the first one is over: `stopwaitsecs`. A process that
# fails to start is noticed at once; the others are for one that hangs, on a slow machine too.
ENDED_WITHIN, READY_WITHIN, RELOADED_WITHIN = 120.0, 120.0, 60.0
NGINX = "nginx"
Condition = Callable[[], bool]


class Failed(Exception):
    """A step failed. Its text says which, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A condition, how long it may take in seconds, and the words for a failure."""

    until: Condition
    within: float
    otherwise: str


Steps = Iterator[Wait]


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a change has come, for the way back."""

    swapped: bool = False
    proxied: bool = False
    before: dict[str, GatedConfig] = field(default_factory=dict)
    shared: SharedConfig | None = None


class Changing:
    """One change. Call advance() until `result` is there: how long the steps took, or the error.

    `daemon` is the supervisor. `places` has been taken. `children` returns the process IDs of a
    process's children.
    """

    def __init__(
        self,
        daemon: Any,
        request: Request,
        places: Places,
        children: Callable[[int], Sequence[int]] = children_of,
    ) -> None:
        self._daemon = daemon
        self._options = daemon.options
        self._programs: dict[str, GatedProcess] = daemon.options.programs
        self._request = request
        self._places = places
        self._children = children
        self._progress = Progress()
        self._steps = self._forward()
        self._wait: Wait | None = None
        self._since = 0.0
        self._is_back = False
        self._actions: Mapping[str, Callable[[Sequence[GatedProcess]], Steps]] = {
            "stop": self._stop,
            "files": self._files,
            "proxy": self._proxy,
            "server": self._restart,
            "remove": self._remove,
            "start": self._start,
            "restart": self._restart,
        }
        self.took: list[float] = []
        self.result: dict[str, Any] | None = None

    def advance(self) -> None:
        """Go on as far as possible, and turn back after a failure."""
        try:
            while self.result is None and self._is_met():
                self._next()
        except Exception as error:
            if not isinstance(error, Failed):
                self._log(traceback.format_exc())
            if self._is_back:
                raise
            self._turn_back(str(error) or type(error).__name__)

    def _is_met(self) -> bool:
        wait = self._wait
        if wait is None or wait.until():
            return True
        if self._options.clock() - self._since > wait.within:
            raise Failed(wait.otherwise)
        return False

    def _next(self) -> None:
        self._wait = next(self._steps, None)
        self._since = self._options.clock()
        if self._wait is None and self.result is None:
            self.result = {"took": self.took}

    def _turn_back(self, reason: str) -> None:
        self._is_back = True
        self._log(f"the layout could not be changed: {reason}. The one before comes back")
        self._wait = None
        self._steps = self._backward(reason)

    def _log(self, line: str) -> None:
        self._options.logger.info(f"change of the layout: {line}")

    # The way forward.

    def _forward(self) -> Steps:
        self._configs = self._read_configs()
        main = self._configs["main"]
        self._new_shared = self._read_shared_config(main)
        if self._new_shared is None and self._options.shared_config is not None:
            raise Failed("Synapse rejects the new configuration")
        for do, names in self._request.steps:
            began = time.monotonic()
            yield from self._actions[do]([self._programs[name] for name in names])
            self.took.append(round(time.monotonic() - began, 2))
            self._log(f"{do} {' '.join(names)}".rstrip() + f" took {self.took[-1]:.2f} s")
        self._record()
        self._finish(gone=self._request.removed)

    def _read_configs(self) -> dict[str, GatedConfig]:
        """Read the programs of the new supervisord.conf, by their names, with their groups."""
        parser = UnhosedConfigParser()
        parser.expansions = self._options.environ_expansions
        parser.read_string((self._places.taken / "supervisord.conf").read_text(encoding="utf-8"))
        found: dict[str, GatedConfig] = {}
        self._groups: dict[str, tuple[str, int]] = {}
        for section in parser.sections():
            kind, _, name = section.partition(":")
            if kind == "group":
                priority = int(parser.get(section, "priority"))
                for member in parser.get(section, "programs").split(","):
                    self._groups[member.strip()] = (name, priority)
            elif kind == "program":
                (found[name],) = self._options.processes_from_section(parser, section, name)
        return found

    def _read_shared_config(self, main: GatedConfig) -> SharedConfig | None:
        """Read Synapse's configuration where it is, as if it were in the conf directory already."""
        if not self._options.prefork:
            return None
        conf, taken = self._places.conf, self._places.taken
        files = config_files(shlex.split(main.command))
        moved = [str(taken / file.removeprefix(f"{conf}/")) for file in files]
        found = read(moved, self._options.account)
        # As prepare_shared_memory does: a collection in a child would write to every object.
        gc.freeze()
        return None if found is None else replace(found, files=files)

    def _stop(self, programs: Sequence[GatedProcess]) -> Steps:
        for program in programs:
            program.keeps_sockets = True
            program.forget_configuration()
            program.hold(signal.SIGTERM)
        yield _ended(programs)

    def _files(self, _programs: Sequence[GatedProcess]) -> Steps:
        self._swap()
        for name, program in self._programs.items():
            config = self._configs.get(name)
            if config is not None:
                self._progress.before[name] = program.config
                program.reconfigure(config)
        for name in self._request.added:
            self._add(name)
        for name in (*self._request.added, *self._request.together):
            self._programs[name].open_sockets()
        yield from ()

    def _swap(self) -> None:
        """Exchange the conf directories. No program starts meanwhile: this is the only thread."""
        self._progress.swapped = True
        self._progress.shared = self._options.shared_config
        self._places.swap()
        self._options.shared_config = self._new_shared

    def _add(self, name: str) -> None:
        group_name, priority = self._groups[name]
        groups = self._daemon.process_groups
        if group_name not in groups:
            config = ProcessGroupConfig(self._options, group_name, priority, [])
            self._daemon.add_process_group(config)
        group = groups[group_name]
        program = self._configs[name].make_process(group)
        # Held until its step. Requests may wait for it before.
        program.held = program.keeps_sockets = True
        group.processes[name] = program

    def _proxy(self, programs: Sequence[GatedProcess]) -> Steps:
        self._progress.proxied = True
        yield Wait(
            until=self._reloaded(programs[0]),
            within=RELOADED_WITHIN,
            otherwise="nginx did not take its new files; see its log",
        )

    def _reloaded(self, nginx: GatedProcess) -> Condition:
        """Reload nginx. Return whether all of its workers are those of the new files."""
        before = self._children(nginx.pid)
        nginx.signal(signal.SIGHUP)

        def has_followed() -> bool:
            now = self._children(nginx.pid)
            fresh = set(now) - set(before)
            return bool(fresh) and all(_is_leaving(pid) for pid in before if pid in now)

        return has_followed

    def _restart(self, programs: Sequence[GatedProcess]) -> Steps:
        before = {program.pid for program in programs}
        for program in programs:
            program.restart()

        def has_followed(program: GatedProcess) -> bool:
            if program.pid in before and not program.restarting:
                raise Failed(f"the next {program.config.name} ended before it took over")
            return program.pid not in before

        yield _ready(programs, has_followed)

    def _remove(self, programs: Sequence[GatedProcess]) -> Steps:
        for program in programs:
            program.withdraw()
        yield _ended(programs)

    def _start(self, programs: Sequence[GatedProcess]) -> Steps:
        self._release(programs)
        yield _ready(programs)

    def _release(self, programs: Sequence[GatedProcess]) -> None:
        for program in programs:
            program.release()
        for group in self._daemon.process_groups.values():
            group.transition()

    def _record(self) -> None:
        """Have the next start choose this layout. In this moment the change is made."""
        places = self._places
        if self._request.keep:
            places.claimed.rename(places.record)
        else:
            places.record.unlink(missing_ok=True)

    def _finish(self, *, gone: Sequence[str]) -> None:
        for name in gone:
            self._forget(name)
        for program in self._programs.values():
            program.keeps_sockets = False
        self._places.clean()

    def _forget(self, name: str) -> None:
        """Forget a program that has ended for good."""
        program = self._programs.pop(name)
        group = program.group
        del group.processes[name]
        if not group.processes:
            del self._daemon.process_groups[group.config.name]
        if self._daemon.watchdog is not None:
            self._daemon.watchdog.forget(name)

    # The way back.

    def _backward(self, reason: str) -> Steps:
        programs = self._programs
        for program in programs.values():
            program.call_off_restart()
        added = [programs[name] for name in self._request.added if name in programs]
        back = [
            program
            for name in (*self._request.together, *self._request.removed)
            if (program := programs[name]).held or self._progress.swapped
        ]
        moved = [program for program in back if program.config.name in self._request.together]
        if self._progress.swapped:
            for program in moved:
                program.keeps_sockets = True
                program.forget_configuration()
                program.hold(signal.SIGTERM)
            for program in added:
                program.withdraw()
            yield _ended([*moved, *added])
            self._swap_back()
        # Processes that got the signal before anything was exchanged, too.
        yield _ended([program for program in back if program.held])
        for program in back:
            program.open_sockets()
        if self._progress.proxied:
            yield from self._proxy_back(self._programs[NGINX])
        self._release(back)
        yield _settled(back)
        self._finish(gone=[program.config.name for program in added])
        late = [program.config.name for program in back if not program.ready]
        rest = f", but {', '.join(late)} not ready yet" if late else ""
        self.result = {"error": f"{reason}; the layout before is back{rest}"}

    def _proxy_back(self, nginx: GatedProcess) -> Steps:
        """Have nginx take the files of before. If it does not, restart it: its sockets stay."""
        has_followed = self._reloaded(nginx)
        overdue = self._options.clock() + RELOADED_WITHIN
        yield Wait(
            until=lambda: has_followed() or self._options.clock() > overdue,
            within=math.inf,
            otherwise="",
        )
        if not has_followed():
            yield from self._restart([nginx])

    def _swap_back(self) -> None:
        progress = self._progress
        self._places.swap_back()
        self._options.shared_config = progress.shared
        for name, config in progress.before.items():
            self._programs[name].reconfigure(config)


def _ended(programs: Sequence[GatedProcess]) -> Wait:
    names = ", ".join(program.config.name for program in programs)
    return Wait(
        until=lambda: not any(program.pid for program in programs),
        within=ENDED_WITHIN,
        otherwise=f"{names} did not end",
    )


def _ready(
    programs: Sequence[GatedProcess], also: Callable[[GatedProcess], bool] = lambda _: True
) -> Wait:
    def until() -> bool:
        for program in programs:
            if program.pauses or program.state in (ProcessStates.BACKOFF, ProcessStates.FATAL):
                raise Failed(f"{program.config.name} did not get ready; see its log")
        return all(program.ready and also(program) for program in programs)

    names = ", ".join(program.config.name for program in programs)
    return Wait(until=until, within=READY_WITHIN, otherwise=f"{names} did not get ready in time")


def _settled(programs: Sequence[GatedProcess]) -> Wait:
    """Wait until all are ready, or some fail: the supervisor goes on to start those."""

    def until() -> bool:
        return all(program.ready or program.backoff or program.pauses for program in programs)

    return Wait(until=until, within=math.inf, otherwise="")


def _is_leaving(pid: int) -> bool:
    """Whether a worker of nginx has begun to end. It then accepts no connection any more."""
    try:
        return b"shutting down" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
