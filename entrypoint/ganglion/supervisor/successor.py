"""The next process of a program, which starts while the present one still works.

A restart on purpose starts it. It waits at a gate (in_synapse/gate.py) until the present process
has ended, and becomes the program's process then. docs/decisions/0028-successors-at-a-gate.md
"""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from supervisor import events
from supervisor.options import ServerOptions
from supervisor.process import Subprocess

from ganglion.in_synapse.gate import OPEN
from ganglion.machine import clean_fork
from ganglion.supervisor.dispatcher import Reader

# In seconds: how long it may take to reach its gate.
LONGEST = 120.0


class SuccessorFailed(events.Event):
    """A successor has ended before it was adopted."""


class Successor(Reader):
    """A forked process and its gate.

    `dispatchers` and `pipes` are supervisord's, for the program's process. `become` runs in the
    child with the descriptor of its gate, and does not return. `waits` is called once it waits, and
    `failed` if it ends before it is adopted. Raises OSError if there can be no further process.
    """

    def __init__(
        self,
        dispatchers: dict[int, Any],
        pipes: dict[str, Any],
        options: Any,
        become: Callable[[int], object],
    ) -> None:
        self.dispatchers, self.pipes = dispatchers, pipes
        self.waits: Callable[[], None] = lambda: None
        self.failed: Callable[[], None] = lambda: None
        self._options = options
        self._due = options.clock() + LONGEST
        self.is_waiting = False
        try:
            self._gate, theirs = options.make_gate()
        except OSError:
            self._close_pipes()
            raise
        try:
            self.pid = int(options.fork())
        except OSError:
            theirs.close()
            self._close()
            raise
        if self.pid == 0:
            become(theirs.detach())
        theirs.close()
        # The supervisor looks there for a process that has ended.
        options.pidhistory[self.pid] = self

    def fileno(self) -> int:
        return int(self._gate.fileno())

    def readable(self) -> bool:
        return not self.is_waiting

    def handle_read_event(self) -> None:
        """Note that the process waits at its gate, unless its end has closed it: finish()."""
        self.is_waiting = True
        with contextlib.suppress(OSError):
            if self._gate.recv(1):
                self.waits()

    def adopt(self) -> None:
        """Open the gate. The process belongs to its program from now on."""
        with contextlib.suppress(OSError):
            self._gate.sendall(OPEN)
        self._gate.close()

    def finish(self, _pid: int, _status: int) -> None:
        """Note that the process has ended before it was adopted. supervisord calls this."""
        for dispatcher in self.dispatchers.values():
            while dispatcher.readable():
                dispatcher.handle_read_event()
        self._close()
        self.failed()

    def look(self) -> None:
        """End the process if it takes too long to its gate. Called each second."""
        if not self.is_waiting and self._options.clock() > self._due:
            self._kill()

    def end(self) -> None:
        """End the process, which is not needed any more."""
        self.failed = lambda: None
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._options.kill(self.pid, signal.SIGKILL)

    def _close(self) -> None:
        self._close_pipes()
        self._gate.close()

    def _close_pipes(self) -> None:
        self._options.close_child_pipes(self.pipes)
        self._options.close_parent_pipes(self.pipes)


class ReplaceableProcess(Subprocess):
    """supervisord's program, which can have a successor."""

    # In the successor's process itself, the descriptor of its gate.
    gate: int | None = None

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        # During a restart on purpose.
        self.successor: Successor | None = None
        self.restarting = False
        self.goes_back = False

    @property
    def may_overlap(self) -> bool:
        """Whether there may be a successor."""
        raise NotImplementedError

    def read_configuration(self) -> None:
        """Note that the next process starts with the configuration as it is now."""
        raise NotImplementedError

    def restart(self) -> None:
        """End the program as a stop does, and start it again at once, as its files are now.

        One that may overlap ends only once its successor waits for that. Raises OSError or
        ProcessException if there can be no successor; the program goes on as it is then.
        """
        self.successor = self._successor() if self.may_overlap else None
        self.goes_back = False
        self.restarting = True
        if self.successor is None:
            self._end_for_successor()

    def _successor(self) -> Successor:
        filename, words = self.get_execv_args()
        dispatchers, pipes = self.config.make_dispatchers(self)

        def become(gate: int) -> None:
            # In the child, which is the one that its files are for.
            self.gate, self.pipes, self.goes_back = gate, pipes, False
            self._spawn_as_child(filename, words)

        self.read_configuration()
        made = Successor(dispatchers, pipes, self.config.options, become)
        made.waits, made.failed = self._end_for_successor, self._successor_failed
        return made

    def _end_for_successor(self) -> None:
        if self.pid:
            self.kill(self.config.stopsignal)

    def _successor_failed(self) -> None:
        self.successor = None
        self.restarting = False
        self.config.options.logger.error(
            f"the next process of {self.config.name} ended before it took over. Find the cause in"
            " its last lines above"
        )
        events.notify(SuccessorFailed())

    def end_successor(self) -> None:
        """End a successor that waits, because the program is not to start now."""
        if self.successor is not None:
            self.successor.end()
            self.successor = None

    def call_off_restart(self) -> None:
        """Keep the process that is there, if its successor does not take over yet."""
        if self.successor is not None and not self.successor.is_waiting:
            self.end_successor()
            self.restarting = False

    def _spawn_as_parent(self, pid: int) -> Any:
        successor, self.successor = self.successor, None
        result = super()._spawn_as_parent(pid)
        if successor is not None:
            successor.adopt()
        return result


class AdoptingOptions(ServerOptions):
    """supervisord's options, whose fork() may return a child that there is already."""

    programs: dict[str, Any]
    _forked: int | None = None

    def of_successors(self) -> dict[int, Any]:
        """Return the dispatchers of all programs' successors, by their descriptors."""
        found = [each.successor for each in self.programs.values() if each.successor is not None]
        return {each.fileno(): each for each in found} | {
            descriptor: dispatcher
            for each in found
            for descriptor, dispatcher in each.dispatchers.items()
        }

    @contextlib.contextmanager
    def forks(self, pid: int | None) -> Iterator[None]:
        """Have fork() return `pid` meanwhile, unless that is None."""
        self._forked = pid
        try:
            yield
        finally:
            self._forked = None

    def make_gate(self) -> tuple[socket.socket, socket.socket]:
        """Make the supervisor's end of a successor's gate and that of the process."""
        return socket.socketpair()

    def fork(self) -> int:
        """Make a child process, as fork(2), which a signal can end at once."""
        return clean_fork.fork() if self._forked is None else self._forked
