"""A program's configuration, as the supervisor reads it from supervisord.conf."""

import shlex
from typing import Any

from supervisor import events
from supervisor.dispatchers import PInputDispatcher
from supervisor.options import ProcessConfig

from ganglion.supervisor.fork.synapse_command import app_of
from ganglion.supervisor.output import PrefixedOutput


class ProgramConfig(ProcessConfig):
    """A program's configuration, with Ganglion's part of it from its `environment` setting."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The programs that must be ready first."""
        return tuple((self.environment or {}).get("GANGLION_NEEDS", "").split())

    @property
    def ready_line(self) -> bytes:
        """The text that a line of output contains once the program is ready.

        Empty for a program that reports to NOTIFY_SOCKET instead.
        """
        return str((self.environment or {}).get("GANGLION_READY_LINE", "")).encode()

    @property
    def health(self) -> str:
        """How the watchdog asks the program: protocol and address. Empty if it does not."""
        return str((self.environment or {}).get("GANGLION_HEALTH", ""))

    @property
    def listens(self) -> tuple[str, ...]:
        """The addresses at which the supervisor listens for the program: listening_sockets.py."""
        return tuple((self.environment or {}).get("GANGLION_LISTENS", "").split())

    @property
    def stands_alone(self) -> bool:
        """Whether no other program does its work while it is down."""
        return "GANGLION_ALONE" in (self.environment or {})

    @property
    def account(self) -> str | None:
        """The program's account as `UID:GID`, where the numbers may have no name."""
        return (self.environment or {}).get("GANGLION_ACCOUNT")

    @property
    def oom_score(self) -> int:
        """How much earlier than this process the kernel kills it: machine/oom_score.py."""
        return int((self.environment or {}).get("GANGLION_OOM_SCORE", "0"))

    @property
    def is_synapse(self) -> bool:
        """Whether the program is a Synapse process."""
        return app_of(shlex.split(self.command)) is not None

    @property
    def forked(self) -> bool:
        """Whether the program continues in a fork of this process instead of executing a file."""
        return bool(self.options.prefork) and self.is_synapse

    def make_dispatchers(self, proc: Any) -> Any:
        if proc.successor is not None:
            return proc.successor.dispatchers, proc.successor.pipes
        # stderr goes into stdout's pipe: redirect_stderr.
        pipes = self.options.make_pipes(False)
        return {
            pipes["stdout"]: PrefixedOutput(
                proc,
                events.ProcessCommunicationStdoutEvent,
                pipes["stdout"],
                self.options.output,
            ),
            pipes["stdin"]: PInputDispatcher(proc, "stdin", pipes["stdin"]),
        }, pipes
