"""A socket at which a server for tests is told to end its processes and to start them again.

supervisord's own RPC answers a request that waits at a moment of its own, up to a second late. Here
whoever asks is answered in the turn of the loop in which it came about. One line of JSON each way:
`{"do": "hold", "names": […], "signal": "KILL"}` is answered by `{}`, or by `{"error": …}`.
"""

import contextlib
import json
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from supervisor.states import ProcessStates

from ganglion.supervisor.dispatcher import Reader
from ganglion.supervisor.program import GatedProcess

Answer = dict[str, str]
# What answers a request once it has come about, and None until then.
Pending = Callable[[], Answer | None]

LONGEST_REQUEST = 64 * 1024
DONE: Answer = {}


class ControlSocket(Reader):
    """Takes connections, shaped as one of supervisord's dispatchers. Of `programs` those that are
    Synapse's may be named; the owner calls `look` when the state of one has changed.
    """

    def __init__(self, path: str, programs: Mapping[str, GatedProcess]) -> None:
        Path(path).unlink(missing_ok=True)
        self._programs = programs
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.bind(path)
        # Whoever may connect may kill: our own account alone.
        Path(path).chmod(0o600)
        self._socket.listen()
        self._conversations: list[Conversation] = []

    @property
    def dispatchers(self) -> "tuple[ControlSocket | Conversation, ...]":
        """This and every conversation that goes on."""
        self._conversations = [each for each in self._conversations if not each.closed]
        return (self, *self._conversations)

    def look(self, _event: object = None) -> None:
        """Answer every request that has come about."""
        for conversation in self._conversations:
            conversation.look()

    def fileno(self) -> int:
        return self._socket.fileno()

    def handle_read_event(self) -> None:
        """Take every connection that is there."""
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._socket.accept()
                self._conversations.append(Conversation(connection, self._programs))

    def close(self) -> None:
        for dispatcher in self.dispatchers:
            if dispatcher is not self:
                dispatcher.close()
        self._socket.close()


class Conversation:
    """One connection: a request, its answer, the next request."""

    def __init__(self, connection: socket.socket, programs: Mapping[str, GatedProcess]) -> None:
        connection.setblocking(False)
        self.closed = False
        self._socket = connection
        self._programs = programs
        self._received = b""
        self._pending: Pending | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def readable(self) -> bool:
        return not self.closed

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        """Take what came, and begin what it asks for."""
        try:
            data = self._socket.recv(LONGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        if not data or len(self._received) > LONGEST_REQUEST:
            self.close()
            return
        line, newline, rest = self._received.partition(b"\n")
        if newline and self._pending is None:
            self._received = rest
            self._pending = self._begin(line)
            self.look()

    def look(self) -> None:
        """Answer, if what was asked for has come about."""
        answer = None if self._pending is None else self._pending()
        if answer is None:
            return
        self._pending = None
        try:
            self._socket.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            # Whoever asked is gone.
            self.close()

    def _begin(self, line: bytes) -> Pending:
        request: dict[str, Any] = json.loads(line)
        programs = [self._programs[name] for name in request["names"]]
        if not all(program.config.is_synapse for program in programs):
            return _refused("only processes of Synapse can be controlled")
        return VERBS[request["do"]](programs, request)

    def handle_error(self) -> None:
        """A request that cannot be understood ends its connection, and nothing else."""
        self.close()

    def close(self) -> None:
        self.closed = True
        self._socket.close()


def _refused(why: str) -> Pending:
    return lambda: {"error": why}


def _hold(programs: list[GatedProcess], request: Mapping[str, Any]) -> Pending:
    """End programs, and keep them from starting; answered when all have ended."""
    number = signal.Signals[f"SIG{request['signal']}"]
    for program in programs:
        program.hold(number)
    return lambda: DONE if all(item.state == ProcessStates.STOPPED for item in programs) else None


def _release(programs: list[GatedProcess], _request: Mapping[str, Any]) -> Pending:
    """Let programs start as they do at boot; answered when all are ready."""
    for program in programs:
        program.release()

    def ready() -> Answer | None:
        for program in programs:
            if program.state == ProcessStates.FATAL:
                return {"error": f"{program.config.name} does not start; see its log"}
        return DONE if all(program.ready for program in programs) else None

    return ready


def _pause(programs: list[GatedProcess], _request: Mapping[str, Any]) -> Pending:
    return _each(programs, GatedProcess.pause)


def _resume(programs: list[GatedProcess], _request: Mapping[str, Any]) -> Pending:
    return _each(programs, GatedProcess.resume)


def _each(programs: list[GatedProcess], act: Callable[[GatedProcess], None]) -> Pending:
    """Do something to programs that run, at once."""
    idle = [program.config.name for program in programs if not program.pid]
    if idle:
        return _refused(f"{idle[0]} does not run at the moment")
    for program in programs:
        act(program)
    return lambda: DONE


def _kill(programs: list[GatedProcess], _request: Mapping[str, Any]) -> Pending:
    """Kill programs, which then start again by themselves; answered when they are dead."""
    idle = [item.config.name for item in programs if item.state != ProcessStates.RUNNING]
    if idle:
        return _refused(f"{idle[0]} is not ready at the moment")
    before = [(program, program.pid) for program in programs]
    for program in programs:
        program.kill_blameless()

    def dead() -> Answer | None:
        alive = [
            program
            for program, pid in before
            if program.state == ProcessStates.RUNNING and program.pid == pid
        ]
        return None if alive else DONE

    return dead


VERBS: Mapping[str, Callable[[list[GatedProcess], Mapping[str, Any]], Pending]] = {
    "hold": _hold,
    "release": _release,
    "pause": _pause,
    "resume": _resume,
    "kill": _kill,
}
