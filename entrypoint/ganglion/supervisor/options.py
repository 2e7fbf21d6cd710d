"""supervisord's options, and the step in which a child becomes a program."""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from supervisor import loggers

from ganglion.in_synapse.gate import VARIABLE as GATE
from ganglion.in_synapse.listening import VARIABLE as SOCKETS
from ganglion.supervisor import clock
from ganglion.supervisor.fork.become import become
from ganglion.supervisor.fork.configuration import with_contents
from ganglion.supervisor.fork.synapse_command import app_of, fresh
from ganglion.supervisor.output import Output, OutputHandler
from ganglion.supervisor.program import GatedConfig, GatedProcess
from ganglion.supervisor.successor import AdoptingOptions

if TYPE_CHECKING:
    from ganglion.supervisor.fork.shared_config import SharedConfig

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
ABOVE_CRITICAL = 60
PROXY = "nginx"


class Options(AdoptingOptions):
    """supervisord's options, and the state that all programs share.

    `exit_status` is the one that the supervisor will end with. `clock` gives the time in seconds.
    `kept` are descriptors that every program inherits: the locks on the server's directories.
    """

    def __init__(  # noqa: PLR0913 - as supervise()
        self,
        notify_socket: str,
        *,
        prefork: bool,
        account: str | None = None,
        command_socket: str | None = None,
        controls: bool = False,
        kept: frozenset[int] = frozenset(),
        output: Output | None = None,
        clock: Callable[[], float] = clock.now,
    ) -> None:
        super().__init__()
        # Whether a new database is on the disk. Nobody may be served before.
        self.durable: Callable[[], bool] = lambda: True
        self.applied: str | None = None
        self.output = output or Output()
        self.kept = kept
        self.own_pid = os.getpid()
        self.reload_requested = False
        self.notify_socket = notify_socket
        self.command_socket = command_socket
        self.controls = controls
        self.clock = clock
        # Whether Synapse's processes are forked from this one, and whether that is possible yet.
        self.prefork = prefork
        self.preloaded = False
        self.account = account
        self.shared_config: SharedConfig | None = None
        self.exit_status = 0
        # Whether a program has ended since the loop looked at all of them.
        self.has_ended = False
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
        name = env.get("SUPERVISOR_PROCESS_NAME", "")
        env = {**env, **self._handed(name)}
        program = self.programs.get(name)
        if program is not None and program.goes_back and program.used is not None:
            argv = with_contents(argv, program.used)
        if app is not None:
            _schedule_as_batch()
            if self.prefork:
                become(app, argv, env, self.shared_config)
            argv = fresh(argv)
        super().execve(filename, argv, env)

    def _handed(self, name: str) -> dict[str, str]:
        """Return the variable that names a program's sockets, which it inherits."""
        program = self.programs.get(name)
        descriptors = {} if program is None else program.sockets.descriptors
        gate = {} if program is None or program.gate is None else {GATE: str(program.gate)}
        for descriptor in descriptors.values():
            os.set_inheritable(descriptor, True)
        if descriptors and name == PROXY:
            # As nginx's own upgrade hands them to a new binary: it finds each by its address.
            return {"NGINX": "".join(f"{number};" for number in descriptors.values())}
        return gate | ({SOCKETS: json.dumps(descriptors)} if descriptors else {})

    def make_logger(self) -> None:
        self.logger = loggers.getLogger(self.loglevel)
        handler = OutputHandler(self.output, LOG_FORMAT)
        handler.setLevel(self.loglevel)
        self.logger.addHandler(handler)

    def close_fd(self, fd: int) -> None:
        """Close a descriptor, except for the locks: a program that outlives us must hold them."""
        if fd not in self.kept:
            super().close_fd(fd)

    def get_signal(self) -> Any:
        """Return the next signal. supervisord would restart everything on SIGHUP; we reload."""
        number = super().get_signal()
        if number == signal.SIGHUP:
            self.reload_requested = True
            return super().get_signal()
        return number

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
