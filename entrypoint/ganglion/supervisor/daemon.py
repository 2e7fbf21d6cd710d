"""supervisord's own classes, extended by readiness, forking and Ganglion's log format."""

import contextlib
import os
import shlex
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from supervisor import events
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from ganglion.in_synapse.imports import TRACING
from ganglion.supervisor import clock
from ganglion.supervisor.clock_step import StepsBack
from ganglion.supervisor.command_socket import TEST_VERBS, VERBS, CommandSocket
from ganglion.supervisor.fork.immortal import prepare_shared_memory
from ganglion.supervisor.fork.preload import preload
from ganglion.supervisor.fork.shared_config import read
from ganglion.supervisor.fork.synapse_command import config_files
from ganglion.supervisor.helper import Helper
from ganglion.supervisor.lack import Patience
from ganglion.supervisor.layout_changes import LayoutChanges
from ganglion.supervisor.log_socket import LogSocket
from ganglion.supervisor.notify_socket import NotifySocket
from ganglion.supervisor.options import Options
from ganglion.supervisor.output import Output
from ganglion.supervisor.program import GatedProcess
from ganglion.supervisor.start_times import Timeline
from ganglion.supervisor.states import StatesSocket, states
from ganglion.supervisor.successor import SuccessorFailed
from ganglion.supervisor.wakeup import Waker
from ganglion.supervisor.watchdog import Watchdog

MAIN = "main"
LAST = "nginx"
# Each of these programs is a stage of the start. The workers together are another one.
STAGES = ("postgres", "redis", MAIN, LAST)
# These read their files again on SIGHUP, as Synapse's processes do.
RELOADED = ("postgres", "nginx")


def supervise(  # noqa: PLR0913 - one keyword for each part of the start that it continues
    configuration: str,
    notify_socket: str,
    timeline: Timeline,
    *,
    prefork: bool,
    account: str | None = None,
    command_socket: str | None = None,
    states_socket: str | None = None,
    log_socket: str | None = None,
    controls: bool = False,
    locks: Sequence[int] = (),
    output: Output | None = None,
    watchdog: float = 0.0,
    helpers: Sequence[Helper] = (),
    durable: Callable[[], bool] | None = None,
    applied: str | None = None,
) -> int:
    """Run every program of a supervisord.conf until SIGTERM, SIGINT or SIGQUIT.

    `notify_socket` is the path at which programs report readiness. `timeline` holds the stages of
    the start so far. With `prefork`, this process imports Synapse and forks Synapse's processes;
    it then reads their configuration with the rights of `account`, or its own without one.
    `command_socket` is the path at which processes are restarted and, with `controls`, the test
    controls stop and start them; None for neither. `states_socket` is the path at which `account`
    learns the state of every program; None for no such socket. `log_socket` is that at which the
    last lines are read.

    `locks` are descriptors that every program inherits, so that it holds the locks too. `output` is
    the queue in front of stdout. `watchdog` is how long a program may hang, in seconds; 0 for ever.
    `helpers` are our own processes, whose lines are heeded. nginx starts once `durable` returns
    true. `applied` is the path of the record of a changed layout; None if it cannot be changed.

    Returns the exit status: 0 after one of these signals, 1 if a program kept failing.
    """
    options = Options(
        notify_socket,
        prefork=prefork,
        account=account,
        command_socket=command_socket,
        controls=controls,
        kept=frozenset(locks),
        output=output,
    )
    if durable is not None:
        options.durable = durable
    options.applied = applied
    clock.install()
    for lock in locks:
        os.set_inheritable(lock, True)
    options.realize(["--configuration", configuration, "--nodaemon"])
    options.first = True
    options.test = False
    with contextlib.suppress(asyncore.ExitNow):
        Daemon(options, timeline, watchdog, helpers, states_socket, log_socket).main()
    options.close_httpservers()
    options.output.finish()
    options.close_logger()
    return options.exit_status


class Daemon(Supervisor):
    """supervisord, which ends with a failure when a program keeps failing."""

    def __init__(
        self,
        options: Options,
        timeline: Timeline,
        watchdog: float = 0.0,
        helpers: Sequence[Helper] = (),
        states_socket: str | None = None,
        log_socket: str | None = None,
    ) -> None:
        super().__init__(options)
        self.log_socket = log_socket
        self.logs: LogSocket | None = None
        self.timeline = timeline
        self.helpers = helpers
        for helper in helpers:
            helper.lines = self._on_line
        self.watchdog: Watchdog | None = None
        if watchdog:
            self.watchdog = Watchdog(options.programs.values, watchdog, options.clock, self._warn)
        self.patience = Patience(options.clock, self._warn)
        self.steps_back = StepsBack(options.programs, self._warn)
        self.changes = LayoutChanges(self)
        self.announced = False
        # Watched by the main loop besides the programs' output, while the loop runs.
        self.wakers: tuple[NotifySocket | Waker | StatesSocket, ...] = ()
        self.states_socket = states_socket
        self.commands: CommandSocket | None = None

    def run(self) -> None:
        self.wakers = (NotifySocket(self.options.notify_socket, self._program_of), Waker())
        if self.states_socket is not None:
            account = self.options.account
            self.wakers += (StatesSocket(self.states_socket, account, self._states),)
        if self.options.command_socket is not None:
            known = {**VERBS, **TEST_VERBS} if self.options.controls else VERBS
            verbs = self.changes.verbs(known)
            self.commands = CommandSocket(self.options.command_socket, self.options.programs, verbs)
        if self.log_socket is not None:
            self.logs = LogSocket(self.log_socket, self.options.output.history)
        try:
            super().run()
        finally:
            if self.logs is not None:
                self.logs.close()
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
            events.subscribe(SuccessorFailed, self.commands.answer_finished)
        # Start the first programs now: the loop waits up to a second before it does.
        for group in self.process_groups.values():
            group.transition()
        if self.options.prefork:
            # The servers that were just started get ready meanwhile.
            self._preload()
        self._loop()

    def _loop(self) -> None:
        """Run supervisord's loop. An exception there stops all programs in their order.

        A second exception, while they stop, kills them: nothing may outlive the supervisor.
        """
        try:
            super().runforever()
        except asyncore.ExitNow:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, programs must not be left alone
            self.options.logger.critical(
                f"the supervisor failed, so all programs are stopped now: {traceback.format_exc()}"
            )
            self.options.exit_status = 1
            self.options.mood = SupervisorStates.SHUTDOWN
            try:
                super().runforever()
            finally:
                for pid in self.options.pidhistory:
                    with contextlib.suppress(ProcessLookupError):
                        self.options.kill(-pid, signal.SIGKILL)

    def reap(self, once: bool = False, recursionguard: int = 0) -> None:  # noqa: FBT001, FBT002
        super().reap(once, recursionguard)
        if self.options.has_ended and self.options.mood == SupervisorStates.RUNNING:
            # Start successors now: the loop waits up to a second before it does.
            self.options.has_ended = False
            for group in self.process_groups.values():
                group.transition()

    def ordered_stop_groups_phase_1(self) -> None:
        """Stop the programs of the next group, and end the successors that wait."""
        for program in self.options.programs.values():
            program.end_successor()
        super().ordered_stop_groups_phase_1()

    def tick(self, now: float | None = None) -> None:
        super().tick(now)
        if self.options.mood < SupervisorStates.RUNNING:
            return
        self.changes.go_on()
        if self.watchdog is not None:
            self.patience.attempt(self.watchdog.look)
        self.patience.attempt(self.steps_back.look)
        for helper in self.helpers:
            self.patience.attempt(partial(helper.look, self._warn))

    def _on_line(self, line: str) -> None:
        """Heed a helper. The first line after a restart says only that it works."""
        verb, _, text = line.partition(" ")
        if verb == "reload":
            name, _, text = text.partition(" ")
            self.options.logger.info(f"{text}: {name} is reloaded")
            self.options.programs[name].signal(signal.SIGHUP)
        elif verb == "stop":
            self._give_up(f"all programs are stopped now: {text}")
        elif verb == "log":
            self.options.logger.error(text)
        elif verb == "info":
            self.options.logger.info(text)

    def handle_signal(self) -> None:
        super().handle_signal()
        if self.options.reload_requested:
            self.options.reload_requested = False
            self.reload()

    def reload(self) -> None:
        """Have programs read their files again: certificates, log configurations, settings."""
        reloaded = []
        for name, program in self.options.programs.items():
            if program.ready and (name in RELOADED or program.config.is_synapse):
                program.signal(signal.SIGHUP)
                reloaded.append(name)
        self.options.logger.info(f"reloaded {', '.join(reloaded) or 'nothing'}")

    def _preload(self) -> None:
        started = time.monotonic()
        synapse = [item.config for item in self.options.programs.values() if item.config.is_synapse]
        # Another container may run main. The last file of a worker is its own.
        first = min(synapse, key=lambda config: config.name != MAIN)
        preload(tracing=TRACING in (first.environment or {}))
        files = config_files(shlex.split(first.command))
        common = files if first.name == MAIN else files[:-1]
        self.options.shared_config = read(common, self.options.account)
        prepare_shared_memory()
        self.options.preloaded = True
        self.timeline.mark("preload")
        self.options.logger.info(f"Synapse was imported in {time.monotonic() - started:.1f} s")

    def get_process_map(self) -> Mapping[int, Any]:
        dispatchers = {**super().get_process_map(), **self.options.of_successors()}
        commands = () if self.commands is None else self.commands.dispatchers
        logs = () if self.logs is None else self.logs.dispatchers
        helpers = (each for each in (self.watchdog, *self.helpers) if each and not each.ended)
        added = (self.options.output, *self.wakers, *commands, *logs, *helpers)
        return dispatchers | {dispatcher.fileno(): dispatcher for dispatcher in added}

    def _states(self) -> object:
        return states(self.options.programs, self.timeline, self.options.clock())

    def _program_of(self, pid: int) -> GatedProcess | None:
        program = self.options.pidhistory.get(pid)
        return program if isinstance(program, GatedProcess) else None

    def _warn(self, line: str) -> None:
        self.options.logger.warn(line)  # noqa: G010 - supervisord's logger has no other name

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
        self._give_up(
            f"{name} keeps failing, so all programs are stopped now. Find the cause in the last "
            f"lines of {name} above, correct it and start the server again"
        )

    def _give_up(self, reason: str) -> None:
        self.options.logger.critical(reason)
        self.options.exit_status = 1
        self.options.mood = SupervisorStates.SHUTDOWN
