"""A supervised program that waits for other programs and reports when it is ready."""

import contextlib
import os
import shlex
import signal
from typing import Any

from supervisor.options import decode_wait_status
from supervisor.states import ProcessStates, SupervisorStates

from ganglion.machine import oom_score
from ganglion.machine.parent_death import end_with_parent
from ganglion.machine.unix_accounts import numbers
from ganglion.supervisor.fork import configuration
from ganglion.supervisor.listening_sockets import ListeningSockets, close_all
from ganglion.supervisor.orphans import wait_for_orphans
from ganglion.supervisor.output import PrefixedOutput
from ganglion.supervisor.program_config import ProgramConfig
from ganglion.supervisor.successor import ReplaceableProcess

# In seconds. A program that ends sooner than this after it was ready has failed. After more than
# MOST_FAILURES in a row it is given up. One that ends before it is ready is given up sooner: after
# `startretries` of supervisord.conf.
STABLE = 10.0
MOST_FAILURES = 5
# Without these there is no homeserver. Any other program is given up for a while only, in seconds,
# and its pool is served by others meanwhile.
ESSENTIAL = frozenset({"postgres", "redis", "main", "nginx"})
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
# In seconds. Requests wait that long for a program's next process at most; after that, others of
# its pool get them. Nobody takes the place of an essential one, so they wait until it is there.
SOON = 2.0
# In seconds: the same for a restart on purpose, which is expected to succeed, and for a program
# that stands alone, because its requests would only fail elsewhere.
LONGER = 20.0
# In seconds. nginx finishes requests for that long when it is stopped. Long polls would delay a
# stop by half a minute, and clients reconnect at once.
PROXY_FINISHES = 1.0
# supervisord's `startsecs`, in seconds, until a program reports that it is ready. There is no limit
# because main's database migrations may take hours after an upgrade.
NEVER = 10**9


class GatedConfig(ProgramConfig):
    """The configuration of a program of this module."""

    def make_process(self, group: Any = None) -> "GatedProcess":
        process = GatedProcess(self)
        process.group = group
        self.options.programs[self.name] = process
        return process


class GatedProcess(ReplaceableProcess):
    """One program. It starts when its needs are ready, and is RUNNING when it is ready itself."""

    def __init__(self, config: GatedConfig) -> None:
        super().__init__(config)
        self.ready_since: float | None = None
        self.failures = 0
        self.not_before = 0.0
        # How often a process was started, and how the last one ended.
        self.starts = 0
        self.last_end = ""
        # How often in a row the program was given up for a while.
        self.pauses = 0
        # Whether its start hangs, so that others go on without it: watchdog.py.
        self.late = False
        # Set by the test controls: command_socket.py.
        self.held = False
        self.paused = False
        self.end_expected = False
        # nginx opens its ports as the account that starts Ganglion, Synapse its paths as its own.
        account = config.options.account if config.is_synapse else None
        self.sockets = ListeningSockets(config.listens, account)
        self.ended_at: float | None = None
        self.was_given_up = False
        self.restarting = False
        # From a restart on purpose until the next end.
        self.on_purpose = False
        # The contents of its configuration files: at its last start, and when it was last ready.
        self.tried: configuration.Contents = {}
        self.used: configuration.Contents | None = None
        # Whether it starts with those that it was last ready with.
        self.goes_back = False
        # While the layout changes, requests wait for the next process however long it takes.
        self.keeps_sockets = False

    @property
    def may_go_back(self) -> bool:
        """Whether it was ready before with another configuration than the one of its last start."""
        return not self.goes_back and self.used not in (None, self.tried)

    @property
    def may_overlap(self) -> bool:
        """Whether its next process may start before it ends: one that inherits its sockets."""
        return self.config.forked and bool(self.sockets.descriptors)

    @property
    def ready(self) -> bool:
        """Whether it can do its work."""
        return self.ready_since is not None

    def spawn(self) -> Any:
        """Start the program. Do nothing while it must wait; supervisord calls this again."""
        if self.config.name == "nginx" and not self.config.options.durable():
            return None
        if self.held or self._now() < self.not_before or not self._needs_met():
            if self.held or self.config.name not in ESSENTIAL:
                self._give_up_overdue(self.ended_at)
            return None
        self.late = False
        self.was_given_up = False
        self._open_sockets()
        if self.successor is None and not self.goes_back:
            self.read_configuration()
        # An end before readiness is a failed start, however late it comes.
        self.config.startsecs = NEVER
        self.starts += 1
        with self.config.options.forks(self.successor and self.successor.pid):
            return super().spawn()

    def read_configuration(self) -> None:
        """Keep the contents of its files, for which its next process starts."""
        if self.config.is_synapse:
            self.tried = configuration.read(
                shlex.split(self.config.command), self.config.options.account
            )

    def _open_sockets(self) -> None:
        try:
            self.sockets.open()
        except OSError as error:
            # The program tries it too, and reports the failure in its own words.
            self.config.options.logger.warn(f"no socket for {self.config.name}: {error}")  # noqa: G010

    def _prepare_child_fds(self) -> None:
        """Close what the program must not inherit; called in the child."""
        own = frozenset(filter(None, (*self.sockets.descriptors.values(), self.gate)))
        close_all(own)
        self.config.options.kept |= own
        super()._prepare_child_fds()

    def _give_up_overdue(self, since: float | None) -> None:
        """Give the sockets up once they have waited too long for a process."""
        soon = LONGER if self.on_purpose or self.config.stands_alone else SOON
        if since is not None and self._now() - since > soon:
            self._give_up_sockets()

    def _give_up_sockets(self) -> None:
        if self.keeps_sockets:
            return
        # It has these sockets.
        self.end_successor()
        self.was_given_up = True
        self.sockets.give_up()

    def set_late(self) -> None:
        """Let the others go on without this program, whose start hangs."""
        self.late = True
        self._give_up_sockets()

    def set_uid(self) -> Any:
        """Drop to the program's account; called in the child. Return an error message or None."""
        if self.config.name == "postgres" and self.ended_at is not None:
            wait_for_orphans(shlex.split(self.config.command))
        # Before the change of account, after which the kernel may no longer allow it.
        oom_score.add(self.config.oom_score)
        problem = super().set_uid() if self.config.account is None else self._set_numbers()
        if problem is None:
            # PostgreSQL cuts connections and ends cleanly; the others end at once.
            number = signal.SIGINT if self.config.name == "postgres" else signal.SIGTERM
            end_with_parent(self.config.options.own_pid, number)
        return problem

    def _set_numbers(self) -> str | None:
        user, group = numbers(self.config.account)
        try:
            os.setgroups([group])
            os.setgid(group)
            os.setuid(user)
        except OSError as error:
            return str(error)
        return None

    def _now(self) -> float:
        return float(self.config.options.clock())

    def _needs_met(self) -> bool:
        options = self.config.options
        if self.config.forked and not options.preloaded:
            return False
        needed = [options.programs[name] for name in self.config.needs]
        return all(program.ready or program.pauses or program.late for program in needed)

    def mark_ready(self) -> None:
        """Note that the program reported readiness. Ignored unless it is starting."""
        if self.state != ProcessStates.STARTING:
            return
        now = self._now()
        self.late = False
        self.ready_since = now
        if not self.goes_back:
            self.used = self.tried
        self.delay = 0
        self.backoff = 0
        self.config.startsecs = 0
        self.change_state(ProcessStates.RUNNING)
        self.config.options.logger.info(
            f"{self.config.name} is ready after {now - self.laststart:.1f} s"
        )
        if self.was_given_up and not self.sockets.are_reachable():
            # It began to listen in the moment in which its sockets were given up.
            self.kill_on_purpose()

    def drain(self) -> None:
        """Pass on all remaining output of a program that has ended.

        supervisord reads once, so it loses everything after 128 KiB, and a last line without a
        line break.
        """
        super().drain()
        for dispatcher in self.dispatchers.values():
            while isinstance(dispatcher, PrefixedOutput) and dispatcher.readable():
                dispatcher.handle_read_event()

    def finish(self, pid: int, sts: int) -> None:
        """Note that the program has ended, and count an early end as a failure."""
        # Kill the rest of the program's process group. A killed nginx leaves its workers, which
        # hold the ports that its successor needs, and would outlive the supervisor.
        with contextlib.suppress(ProcessLookupError):
            self.config.options.kill(-pid, signal.SIGKILL)
        was_running = self.state == ProcessStates.RUNNING
        ready_since = self.ready_since or self.laststart
        start_took = ready_since - self.laststart
        self.ready_since = None
        self.ended_at = self._now()
        self.last_end = decode_wait_status(sts)[1]
        self.paused = False
        super().finish(pid, sts)
        expected, self.end_expected = self.end_expected, False
        if was_running and self.state == ProcessStates.EXITED and not expected:
            self._count_failure(self._now() - ready_since)
        if self.state == ProcessStates.BACKOFF and self.may_go_back:
            self._go_back()
        comes_back = self.state == ProcessStates.EXITED and self.not_before <= self._now()
        self.on_purpose = self.restarting
        if self.restarting:
            self.restarting = False
            comes_back = True
            self.release()
        self.config.options.has_ended = True
        if self.config.name in ESSENTIAL or (self.config.stands_alone and not self.pauses):
            # Others cannot answer meanwhile.
            comes_back |= self.state in (ProcessStates.EXITED, ProcessStates.BACKOFF)
        elif start_took > SOON and not self.on_purpose:
            comes_back = False
        if not comes_back:
            self._give_up_sockets()

    def _count_failure(self, lasted: float) -> None:
        if lasted >= STABLE:
            self.failures = self.pauses = 0
            return
        self.failures += 1
        if self.failures > MOST_FAILURES and self.config.name not in ESSENTIAL:
            self._pause_attempts()
        elif self.failures > MOST_FAILURES:
            self.state = ProcessStates.BACKOFF
            self.give_up()
        elif self.failures > 1:
            # The first restart is immediate. Later ones wait, so that the cause can go away.
            self.not_before = self._now() + self.failures - 1

    def transition(self) -> None:
        """Let supervisord's state machine go on; pause a program that keeps failing to start."""
        if self.successor is not None:
            self.successor.look()
        if self.config.name == "nginx" and self.state == ProcessStates.STOPPING:
            self._hurry()
        is_again = self.state == ProcessStates.STARTING and self.ended_at is not None
        if is_again and self.config.name not in ESSENTIAL:
            self._give_up_overdue(self.laststart)
        super().transition()

    def give_up(self) -> None:
        """Stop trying to start the program, or pause if the others can go on without it."""
        stopping = self.config.options.mood < SupervisorStates.RUNNING
        if stopping or self.config.name in ESSENTIAL:
            super().give_up()
        else:
            self._pause_attempts()

    def _hurry(self) -> None:
        """Have nginx, which finishes its requests, end at once when that takes too long."""
        told_at = self.delay - self.config.stopwaitsecs
        if self.pid and self._now() - told_at >= PROXY_FINISHES:
            self.config.options.kill(self.pid, signal.SIGTERM)

    def _pause_attempts(self) -> None:
        """Try again after a pause that grows, and let the other programs go on without this one."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.pauses)
        self.pauses += 1
        self.failures = 0
        # supervisord starts a program in this state again when `delay` is over.
        self.state = ProcessStates.BACKOFF
        self.backoff = 1
        self.delay = self._now() + pause
        self._give_up_sockets()
        self.config.options.logger.error(
            f"{self.config.name} keeps failing; the other programs go on without it. The next start"
            f" is in {pause:.0f} s. Find the cause in its last lines above"
        )

    def _go_back(self) -> None:
        """Start it at once with the configuration that it was last ready with."""
        self.goes_back = True
        self.release()
        self.delay = 0
        self.config.options.logger.error(
            f"{self.config.name} does not start with its changed configuration, so it gets the one"
            " that it had before. Find the cause in its last lines above"
        )

    def reconfigure(self, config: GatedConfig) -> None:
        """Have another configuration: at once for others, from its next start on for itself."""
        config.startsecs = self.config.startsecs
        # supervisord's class has no types.
        itself: Any = self
        itself.config = config
        self.sockets.move(config.listens)

    def open_sockets(self) -> None:
        """Listen before the program starts, so that requests wait."""
        self._open_sockets()

    def forget_configuration(self) -> None:
        """Never start with the configuration of before: its lists of writers are out of force."""
        self.used, self.goes_back = None, False

    def withdraw(self) -> None:
        """End the program for good. Requests that it has not read go to others of its pool."""
        self.keeps_sockets = False
        self.hold(self.config.stopsignal)
        if not self.pid:
            self._give_up_sockets()

    def hold(self, number: int) -> None:
        """End the program with a signal, and do not start it until release()."""
        self.held = True
        self.end_successor()
        if self.pid:
            self.kill(number)
        else:
            self.change_state(ProcessStates.STOPPED)

    def release(self) -> None:
        """Let the program start as at boot, with no failures counted."""
        self.held = False
        self.failures = self.pauses = 0
        self.not_before = 0.0
        self.backoff = 0
        if self.state == ProcessStates.STOPPED:
            # supervisord starts a stopped program by itself only if it has never started it.
            self.laststart = 0.0

    def pause(self) -> None:
        """Suspend the program with SIGSTOP."""
        self.paused = True
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a paused program."""
        self.paused = False
        self.signal(signal.SIGCONT)

    def stop(self) -> Any:
        """Stop the program for good. New connections are refused from now on."""
        self.restarting = False
        self.end_successor()
        self.sockets.close()
        return super().stop()

    def kill(self, sig: int) -> Any:
        """Send a signal, and continue a paused program, which would otherwise not handle it."""
        problem = super().kill(sig)
        if self.paused and self.pid:
            self.paused = False
            self.config.options.kill(self.pid, signal.SIGCONT)
        return problem

    def kill_on_purpose(self) -> None:
        """Kill the program without counting that as one of its failures."""
        self.end_expected = True
        self.signal(signal.SIGKILL)
