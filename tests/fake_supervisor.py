"""supervisord with real pipes, no processes and a clock that tests turn."""

import contextlib
import os
import socket
from itertools import count
from typing import Any

from supervisor.options import UnhosedConfigParser
from supervisor.states import getProcessStateDescription

from ganglion.supervisor.options import Options
from ganglion.supervisor.program import GatedProcess

# The wait status of a process that ended with exit status 1.
FAILED = 1 << 8
RETRIES = 4


class Log:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str, **_: object) -> None:
        self.lines.append(message)

    trace = debug = info = warn = error = critical = log


class FakeClock:
    """Time in seconds, which passes only when a test says so.

    `time` is what supervisord calls, in place of the standard library's module.
    """

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


class FakeOptions(Options):
    """supervisord's options, with real pipes but no processes behind them."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("/nowhere", prefork=False, clock=clock.time)
        self.fake_clock = clock
        self.open_pipes: set[int] = set()
        self.logger: Any = Log()
        self.loglevel = 20
        self.pids = count(1000)
        self.signals: list[tuple[int, int]] = []
        self.ends: dict[str, int] = {}
        self.gates: list[socket.socket] = []

    def program(
        self,
        name: str,
        needs: str = "",
        *,
        ready_line: str = "",
        health: str = "",
        listens: str = "",
        alone: bool = False,
    ) -> GatedProcess:
        """Return a program made from a section like those of supervisord.conf."""
        stands = ',GANGLION_ALONE="yes"' if alone else ""
        parser = UnhosedConfigParser()
        parser.read_string(
            f"[program:{name}]\ncommand = /bin/{name}\nautorestart = true\n"
            f"startretries = {RETRIES}\nredirect_stderr = true\nstdout_logfile = NONE\n"
            f'environment = GANGLION_NEEDS="{needs}",'
            f'GANGLION_READY_LINE="{ready_line}",GANGLION_HEALTH="{health}",'
            f'GANGLION_LISTENS="{listens}"{stands}\n'
        )
        (config,) = self.processes_from_section(parser, f"program:{name}", name)
        made: GatedProcess = config.make_process()
        return made

    def fork(self) -> int:
        return next(self.pids) if self._forked is None else super().fork()

    def make_gate(self) -> tuple[socket.socket, socket.socket]:
        """Keep a copy of the process's end in `gates`."""
        ours, theirs = super().make_gate()
        self.gates.append(theirs.dup())
        return ours, theirs

    def kill(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))

    def check_execv_args(self, filename: str, argv: list[str], st: object) -> None:
        """Accept a program that does not exist: none is started."""

    def make_pipes(self, stderr: bool = True) -> dict[str, int | None]:  # noqa: FBT001, FBT002
        """Make pipes, as supervisord does, and note them for close_pipes()."""
        pipes: dict[str, int | None] = super().make_pipes(stderr)
        self.open_pipes |= {end for end in pipes.values() if end is not None}
        return pipes

    def close_fd(self, fd: int) -> None:
        self.open_pipes.discard(fd)
        super().close_fd(fd)

    def close_pipes(self) -> None:
        """Close all that are still open: programs that have no processes end nowhere."""
        for descriptor in self.open_pipes:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def close_child_pipes(self, pipes: dict[str, int]) -> None:
        """Keep the child's ends: a test writes to `ends` in place of the program."""
        self.ends = dict(pipes)


def state(program: GatedProcess) -> str:
    return str(getProcessStateDescription(program.state))


def wait(program: GatedProcess, seconds: float) -> None:
    """Let time pass, then let supervisord look at the program."""
    program.config.options.fake_clock.now += seconds
    program.transition()


def run(program: GatedProcess) -> None:
    """Start a program and report it ready."""
    program.transition()
    program.mark_ready()
    assert state(program) == "RUNNING"


def end(program: GatedProcess, status: int = FAILED) -> None:
    """Let a program end by itself."""
    if "child_stdout" in program.config.options.ends:
        program.config.options.close_fd(program.config.options.ends.pop("child_stdout"))
        program.config.options.close_fd(program.config.options.ends.pop("child_stdin"))
    # supervisord takes an end in the very instant of the start for a clock that was set back.
    program.config.options.fake_clock.now += 0.001
    program.finish(program.pid, status)
