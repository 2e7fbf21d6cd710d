"""A program that waits for others before it starts, and tells when it is ready itself."""

import contextlib
import os
import shlex
import signal
import time
from typing import Any

from supervisor import events
from supervisor.dispatchers import PInputDispatcher
from supervisor.options import ProcessConfig
from supervisor.process import Subprocess
from supervisor.states import ProcessStates

from ganglion.machine.unix_accounts import numbers
from ganglion.supervisor.fork.preload import app_of
from ganglion.supervisor.output import PrefixedOutput

# A program that ends sooner than this many seconds after it was ready has failed; when it has
# failed oftener than this many times in a row, it cannot be kept up. One that does not even get
# ready is given up sooner: `startretries`.
STABLE = 10.0
MOST_FAILURES = 5
# supervisord's `startsecs` while a program has yet to say that it is ready: there is no limit,
# because main's database migrations may take hours after an upgrade.
NEVER = 10**9


class GatedConfig(ProcessConfig):
    """A program's configuration, with what it needs out of its environment setting."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The programs that must be ready first."""
        return tuple((self.environment or {}).get("GANGLION_NEEDS", "").split())

    @property
    def ready_line(self) -> bytes:
        """What is in the line by which the program says that it is ready; empty for one that tells
        NOTIFY_SOCKET.
        """
        return str((self.environment or {}).get("GANGLION_READY_LINE", "")).encode()

    @property
    def account(self) -> str | None:
        """The numbers that the program is to run as, where they may have no name."""
        return (self.environment or {}).get("GANGLION_ACCOUNT")

    @property
    def is_synapse(self) -> bool:
        """Whether the program is one of Synapse's processes."""
        return app_of(shlex.split(self.command)) is not None

    @property
    def forked(self) -> bool:
        """Whether the program is forked from us, rather than started afresh."""
        return bool(self.options.prefork) and self.is_synapse

    def make_process(self, group: Any = None) -> "GatedProcess":
        process = GatedProcess(self)
        process.group = group
        self.options.programs[self.name] = process
        return process

    def make_dispatchers(self, proc: Any) -> Any:
        # stderr goes into stdout's pipe: redirect_stderr.
        pipes = self.options.make_pipes(False)
        return {
            pipes["stdout"]: PrefixedOutput(
                proc, events.ProcessCommunicationStdoutEvent, pipes["stdout"]
            ),
            pipes["stdin"]: PInputDispatcher(proc, "stdin", pipes["stdin"]),
        }, pipes


class GatedProcess(Subprocess):
    """One program: not started before its needs are ready, RUNNING once it is ready."""

    def __init__(self, config: GatedConfig) -> None:
        super().__init__(config)
        self.ready_since: float | None = None
        self.failures = 0
        self.not_before = 0.0
        # What controls for tests do to it: supervisor/controls.py.
        self.held = False
        self.paused = False
        self.blameless = False

    @property
    def ready(self) -> bool:
        """Whether it can do its work."""
        return self.ready_since is not None

    def spawn(self) -> Any:
        """Start the program, unless it must wait: then nothing changes, and it is tried again."""
        if self.held or time.time() < self.not_before or not self._needs_met():
            return None
        # Ending before it is ready is a failed start, however late that is.
        self.config.startsecs = NEVER
        return super().spawn()

    def set_uid(self) -> Any:
        """Drop to the program's account, in the child. Returns what stands in the way, if any."""
        if self.config.account is None:
            return super().set_uid()
        user, group = numbers(self.config.account)
        try:
            os.setgroups([group])
            os.setgid(group)
            os.setuid(user)
        except OSError as error:
            return str(error)
        return None

    def _needs_met(self) -> bool:
        options = self.config.options
        if self.config.forked and not options.preloaded:
            return False
        programs = options.programs
        return all(programs[name].ready for name in self.config.needs)

    def mark_ready(self) -> None:
        """Note that the program said it is ready."""
        if self.state != ProcessStates.STARTING:
            return
        now = time.time()
        self.ready_since = now
        self.delay = 0
        self.backoff = 0
        self.config.startsecs = 0
        self.change_state(ProcessStates.RUNNING)
        self.config.options.logger.info(
            f"{self.config.name} is ready after {now - self.laststart:.1f} s"
        )

    def drain(self) -> None:
        """Pass on the last words of a program that has ended, to their end.

        supervisord reads once, and so loses what is beyond 128 KiB or has no line break.
        """
        super().drain()
        for dispatcher in self.dispatchers.values():
            while isinstance(dispatcher, PrefixedOutput) and dispatcher.readable():
                dispatcher.handle_read_event()

    def finish(self, pid: int, sts: int) -> None:
        """Note that the program has ended; count how often it does so early."""
        # supervisord gave it a process group of its own. Whom it left there, as a killed nginx does
        # its workers, would hold the ports that it needs when it starts again, and outlive us.
        with contextlib.suppress(ProcessLookupError):
            self.config.options.kill(-pid, signal.SIGKILL)
        was_running = self.state == ProcessStates.RUNNING
        ready_since = self.ready_since or self.laststart
        self.ready_since = None
        self.paused = False
        super().finish(pid, sts)
        blameless, self.blameless = self.blameless, False
        if was_running and self.state == ProcessStates.EXITED and not blameless:
            self._count_failure(time.time() - ready_since)

    def _count_failure(self, lasted: float) -> None:
        self.failures = self.failures + 1 if lasted < STABLE else 0
        if self.failures > MOST_FAILURES:
            self.state = ProcessStates.BACKOFF
            self.give_up()
        elif self.failures > 1:
            # The first restart is immediate, later ones leave the cause some time to go away.
            self.not_before = time.time() + self.failures - 1

    def hold(self, number: int) -> None:
        """End the program by a signal, and do not start it before it is released."""
        self.held = True
        if self.pid:
            self.kill(number)
        else:
            self.change_state(ProcessStates.STOPPED)

    def release(self) -> None:
        """Let the program start as at boot, as if it had never run."""
        self.held = False
        self.failures = 0
        self.not_before = 0.0
        self.backoff = 0
        if self.state == ProcessStates.STOPPED:
            # What supervisord takes for a program that is yet to be started.
            self.laststart = 0.0

    def pause(self) -> None:
        """Stop the clock of the program."""
        self.paused = True
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.paused = False
        self.signal(signal.SIGCONT)

    def kill(self, sig: int) -> Any:
        """As supervisord does; a program that is paused would hear it too late."""
        problem = super().kill(sig)
        if self.paused and self.pid:
            self.paused = False
            self.config.options.kill(self.pid, signal.SIGCONT)
        return problem

    def kill_blameless(self) -> None:
        """Kill the program, which is not to count as a failure of its own."""
        self.blameless = True
        self.signal(signal.SIGKILL)
