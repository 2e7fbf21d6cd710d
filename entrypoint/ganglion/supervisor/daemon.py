"""supervisord's own classes, extended by readiness, forking and Ganglion's log format."""

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor import events, loggers
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from ganglion.supervisor.command_socket import CommandSocket
from ganglion.supervisor.fork.become import become
from ganglion.supervisor.fork.immortal import prepare_shared_memory
from ganglion.supervisor.fork.preload import preload
from ganglion.supervisor.fork.shared_config import SharedConfig, read
from ganglion.supervisor.fork.synapse_command import app_of, config_files, fresh
from ganglion.supervisor.notify_socket import NotifySocket
from ganglion.supervisor.program import GatedConfig, GatedProcess
from ganglion.supervisor.start_times import Timeline
from ganglion.supervisor.wakeup import Waker

LOG_FORMAT = "supervisor | %(asctime)s %(levelname)s %(message)s\n"
ABOVE_CRITICAL = 60
MAIN = "main"
LAST = "nginx"
# Each of these programs is a stage of the start. The workers together are another one.
STAGES = ("postgres", "redis", MAIN, LAST)


def supervise(
    configuration: str,
    notify_socket: str,
    timeline: Timeline,
    *,
    prefork: bool,
    account: str | None = None,
    command_socket: str | None = None,
) -> int:
    """Run every program of a supervisord.conf until SIGTERM, SIGINT or SIGQUIT.

    `notify_socket` is the path at which programs report readiness. `timeline` holds the stages of
    the start so far. With `prefork`, this process imports Synapse and forks Synapse's processes;
    it then reads their configuration with the rights of `account`, or its own without one.
    `command_socket` is the path at which test controls stop and start processes; None without test
    mode.

    Returns the exit status: 0 after one of these signals, 1 if a program kept failing.
    """
    options = Options(
        notify_socket, prefork=prefork, account=account, command_socket=command_socket
    )
    options.realize(["--configuration", configuration, "--nodaemon"])
    options.first = True
    options.test = False
    with contextlib.suppress(asyncore.ExitNow):
        Daemon(options, timeline).main()
    options.close_httpservers()
    options.close_logger()
    return options.exit_status


class Options(ServerOptions):
    """supervisord's options, and the state that all programs share.

    `exit_status` is the one that the supervisor will end with. `clock` gives the time in seconds.
    """

    def __init__(
        self,
        notify_socket: str,
        *,
        prefork: bool,
        account: str | None = None,
        command_socket: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.notify_socket = notify_socket
        self.command_socket = command_socket
        self.clock = clock
        # Whether Synapse's processes are forked from this one, and whether that is possible yet.
        self.prefork = prefork
        self.preloaded = False
        self.account = account
        self.shared_config: SharedConfig | None = None
        self.exit_status = 0
        # Every program by its name. GatedConfig.make_process adds them.
        self.programs: dict[str, GatedProcess] = {}

    def processes_from_section(
        self, parser: Any, section: str, group_name: str, _klass: Any = None
    ) -> Any:
        # All sections are plain programs, so the class that supervisord asks for is ignored.
        return super().processes_from_section(parser, section, group_name, GatedConfig)

    def execve(self, filename: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Become a program. supervisord calls this in a child, as its last step."""
        app = app_of(argv)
        if app is not None:
            _schedule_as_batch()
            if self.prefork:
                become(app, argv, env, self.shared_config)
            argv = fresh(argv)
        super().execve(filename, argv, env)

    def make_logger(self) -> None:
        self.logger = loggers.getLogger(self.loglevel)
        loggers.handle_stdout(self.logger, LOG_FORMAT)

    def openhttpservers(self, supervisord: Any) -> None:
        # supervisord logs a critical message because its socket has no password. The socket's mode
        # keeps other accounts out.
        level, self.logger.level = self.logger.level, ABOVE_CRITICAL
        try:
            super().openhttpservers(supervisord)
        finally:
            self.logger.level = level


def _schedule_as_batch() -> None:
    """Tell the kernel not to preempt another process when this one wakes up: sched(7).

    Every message wakes several workers. Each would otherwise take the processor from a process that
    is working, and push that one's data out of the processor's caches.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Daemon(Supervisor):
    """supervisord, which ends with a failure when a program keeps failing."""

    def __init__(self, options: Options, timeline: Timeline) -> None:
        super().__init__(options)
        self.timeline = timeline
        self.announced = False
        # Watched by the main loop besides the programs' output, while the loop runs.
        self.wakers: tuple[NotifySocket | Waker, ...] = ()
        self.commands: CommandSocket | None = None

    def run(self) -> None:
        self.wakers = (NotifySocket(self.options.notify_socket, self._program_of), Waker())
        if self.options.command_socket is not None:
            self.commands = CommandSocket(self.options.command_socket, self.options.programs)
        try:
            super().run()
        finally:
            if self.commands is not None:
                self.commands.close()
            for waker in self.wakers:
                waker.close()

    def runforever(self) -> None:
        # Subscribe here, because run() clears all subscriptions first.
        events.subscribe(events.ProcessStateFatalEvent, self._on_fatal)
        events.subscribe(events.ProcessStateRunningEvent, self._on_ready)
        events.subscribe(events.ProcessStateStartingEvent, self._on_start)
        if self.commands is not None:
            events.subscribe(events.ProcessStateEvent, self.commands.answer_finished)
        # Start the first programs now: the loop waits up to a second before it does.
        for group in self.process_groups.values():
            group.transition()
        if self.options.prefork:
            # The servers that were just started get ready meanwhile.
            self._preload()
        super().runforever()

    def _preload(self) -> None:
        started = time.monotonic()
        preload()
        command = shlex.split(self.options.programs[MAIN].config.command)
        self.options.shared_config = read(config_files(command), self.options.account)
        prepare_shared_memory()
        self.options.preloaded = True
        self.timeline.mark("preload")
        self.options.logger.info(f"Synapse was imported in {time.monotonic() - started:.1f} s")

    def get_process_map(self) -> Mapping[int, Any]:
        dispatchers: dict[int, Any] = dict(super().get_process_map())
        added = (*self.wakers, *(() if self.commands is None else self.commands.dispatchers))
        return dispatchers | {dispatcher.fileno(): dispatcher for dispatcher in added}

    def _program_of(self, pid: int) -> GatedProcess | None:
        program = self.options.pidhistory.get(pid)
        return program if isinstance(program, GatedProcess) else None

    def _on_ready(self, event: Any) -> None:
        name = event.process.config.name
        if name in STAGES:
            self.timeline.mark(name)
        if name == LAST and not self.announced:
            self.announced = True
            self.options.logger.info(self.timeline.line())

    def _on_start(self, event: Any) -> None:
        # nginx needs all of Synapse's processes, so they are ready when it starts.
        if event.process.config.name == LAST:
            self.timeline.mark("workers")

    def _on_fatal(self, event: Any) -> None:
        if self.options.mood < SupervisorStates.RUNNING:
            # While it stops, supervisord gives up every program that is waiting for a restart.
            return
        name = event.process.config.name
        self.options.logger.critical(
            f"{name} keeps failing, so all programs are stopped now. Find the cause in the last "
            f"lines of {name} above, correct it and start the server again"
        )
        self.options.exit_status = 1
        self.options.mood = SupervisorStates.SHUTDOWN
