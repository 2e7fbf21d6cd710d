"""supervisord's own classes, with the gate, the readiness socket and our log format put in."""

import contextlib
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor import events, loggers
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from ganglion.supervisor.command_socket import ControlSocket
from ganglion.supervisor.fork import immortal, preload, shared_config
from ganglion.supervisor.notify_socket import ReadinessSocket
from ganglion.supervisor.program import GatedConfig, GatedProcess
from ganglion.supervisor.start_times import Timeline
from ganglion.supervisor.wakeup import Waker

LOG_FORMAT = "supervisor | %(asctime)s %(levelname)s %(message)s\n"
ABOVE_CRITICAL = 60
MAIN = "main"
LAST = "nginx"
# The programs that are a stage of the start each; the workers are one together.
STAGES = ("postgres", "redis", MAIN, LAST)


class Options(ServerOptions):
    """supervisord's options. `exit_status` is what our process is to end with."""

    def __init__(
        self, notify_socket: str, *, prefork: bool, control_socket: str | None = None
    ) -> None:
        super().__init__()
        self.notify_socket = notify_socket
        self.control_socket = control_socket
        # Whether Synapse's processes are forked from here, and whether they can be already.
        self.prefork = prefork
        self.preloaded = False
        self.shared_config: shared_config.SharedConfig | None = None
        self.exit_status = 0
        # The programs by name, filled as they are made.
        self.programs: dict[str, GatedProcess] = {}

    def processes_from_section(
        self, parser: Any, section: str, group_name: str, _klass: Any = None
    ) -> Any:
        # Whatever class is asked for: each of our sections is a plain program.
        return super().processes_from_section(parser, section, group_name, GatedConfig)

    def execve(self, filename: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Go on as a program, in a child: the last that supervisord does there."""
        app = preload.app_of(argv)
        if app is not None:
            _work_in_batches()
        if app is not None and self.prefork:
            preload.become(app, argv, env, self.shared_config)
        super().execve(filename, argv, env)

    def make_logger(self) -> None:
        self.logger = loggers.getLogger(self.loglevel)
        loggers.handle_stdout(self.logger, LOG_FORMAT)

    def openhttpservers(self, supervisord: Any) -> None:
        # It warns as critical of having no password; the file's mode keeps everybody else out.
        level, self.logger.level = self.logger.level, ABOVE_CRITICAL
        try:
            super().openhttpservers(supervisord)
        finally:
            self.logger.level = level


def _work_in_batches() -> None:
    """Tell the kernel that this process need not have a processor the moment it is woken.

    Otherwise a worker that others wake with every message takes it from one that is at work, and
    what that had in the processor's caches is gone. sched(7)
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Daemon(Supervisor):
    """supervisord, ending with a failure when a program cannot be kept up."""

    def __init__(self, options: Options, timeline: Timeline) -> None:
        super().__init__(options)
        self.timeline = timeline
        self.announced = False
        # What ends the loop's wait beside the programs' output, while it runs.
        self.wakers: tuple[ReadinessSocket | Waker, ...] = ()
        self.controls: ControlSocket | None = None

    def run(self) -> None:
        self.wakers = (ReadinessSocket(self.options.notify_socket, self._program_of), Waker())
        if self.options.control_socket is not None:
            self.controls = ControlSocket(self.options.control_socket, self.options.programs)
        try:
            super().run()
        finally:
            if self.controls is not None:
                self.controls.close()
            for waker in self.wakers:
                waker.close()

    def runforever(self) -> None:
        # Subscribed here, as run() clears every subscription first.
        events.subscribe(events.ProcessStateFatalEvent, self._on_fatal)
        events.subscribe(events.ProcessStateRunningEvent, self._on_ready)
        events.subscribe(events.ProcessStateStartingEvent, self._on_start)
        if self.controls is not None:
            events.subscribe(events.ProcessStateEvent, self.controls.look)
        # The loop waits up to a second for something to happen before it first looks around.
        for group in self.process_groups.values():
            group.transition()
        if self.options.prefork:
            # While the servers that were just started get ready.
            started = time.monotonic()
            preload.preload()
            command = shlex.split(self.options.programs[MAIN].config.command)
            self.options.shared_config = shared_config.read(shared_config.config_files(command))
            immortal.share()
            self.options.preloaded = True
            self.timeline.mark("preload")
            self.options.logger.info(f"preloaded Synapse in {time.monotonic() - started:.1f} s")
        super().runforever()

    def get_process_map(self) -> Mapping[int, Any]:
        dispatchers: dict[int, Any] = dict(super().get_process_map())
        ours = (*self.wakers, *(() if self.controls is None else self.controls.dispatchers))
        return dispatchers | {dispatcher.fileno(): dispatcher for dispatcher in ours}

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
        # nginx needs everything, so everything is ready when it starts.
        if event.process.config.name == LAST:
            self.timeline.mark("workers")

    def _on_fatal(self, event: Any) -> None:
        if self.options.mood < SupervisorStates.RUNNING:
            # Stopping, which gives up every program that was about to be started again.
            return
        self.options.logger.critical(
            f"{event.process.config.name} cannot be kept up; its last lines above say why. "
            "Everything stops now"
        )
        self.options.exit_status = 1
        self.options.mood = SupervisorStates.SHUTDOWN
