"""A socket for commands that restart Synapse's processes and, in test mode, stop them.

supervisord's own RPC polls a waiting request, so its response comes up to a second late. This
socket responds in the same turn of the event loop in which a command finishes.

The protocol is one line of JSON each way: the response to
`{"do": "hold", "names": […], "signal": "KILL"}` is `{}`, or `{"error": …}`.
"""

import json
import shlex
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.options import ProcessException
from supervisor.states import ProcessStates

from ganglion.settings.variables import Settings
from ganglion.supervisor.fork import configuration
from ganglion.supervisor.private_socket import PrivateSocket
from ganglion.supervisor.program import GatedProcess

Response = dict[str, Any]
# Returns the response to a command once the command has finished, and None until then.
Pending = Callable[[], Response | None]

Verb = Callable[[list[GatedProcess], Mapping[str, Any]], Pending]

LONGEST_REQUEST = 64 * 1024
DONE: Response = {}
WENT_BACK = (
    "does not start with its changed configuration, so it runs with the one that it had before;"
    " see its log"
)


def path(settings: Settings) -> str:
    """Return the path of a server's socket. In production it is another one, with fewer verbs."""
    return settings.paths.command_socket if settings.test_mode else settings.paths.restart_socket


class CommandSocket(PrivateSocket):
    """Accepts clients, which may kill processes: those of `programs` that are Synapse's.

    `verbs` are the commands by name. The owner calls `answer_finished` whenever the state of a
    program changes.
    """

    def __init__(
        self,
        path: str,
        programs: Mapping[str, GatedProcess],
        verbs: Mapping[str, Verb],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(path, clock)
        self._programs = programs
        self._verbs = verbs
        self._connections: list[Connection] = []

    @property
    def dispatchers(self) -> "tuple[CommandSocket | Connection, ...]":
        """This socket and every open connection."""
        self._connections = [each for each in self._connections if not each.closed]
        return (self, *self._connections)

    def answer_finished(self, _event: object = None) -> None:
        """Respond to every command that has finished."""
        for connection in self._connections:
            connection.answer_if_finished()

    def welcome(self, connection: socket.socket) -> None:
        self._connections.append(Connection(connection, self._programs, self._verbs))

    def close(self) -> None:
        for dispatcher in self.dispatchers:
            if dispatcher is not self:
                dispatcher.close()
        super().close()


class Connection:
    """One connection: a command, its response, the next command."""

    def __init__(
        self,
        connection: socket.socket,
        programs: Mapping[str, GatedProcess],
        verbs: Mapping[str, Verb],
    ) -> None:
        connection.setblocking(False)
        self._verbs = verbs
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
        """Read from the client, and begin a command that is complete."""
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
            self.answer_if_finished()

    def answer_if_finished(self) -> None:
        """Respond if the current command has finished."""
        response = None if self._pending is None else self._pending()
        if response is None:
            return
        self._pending = None
        try:
            self._socket.sendall(json.dumps(response).encode() + b"\n")
        except OSError:
            # The client has disconnected.
            self.close()

    def _begin(self, line: bytes) -> Pending:
        request: dict[str, Any] = json.loads(line)
        programs = [self._programs[name] for name in request["names"]]
        if not all(program.config.is_synapse for program in programs):
            return refused("only Synapse processes can be controlled")
        return self._verbs[request["do"]](programs, request)

    def handle_error(self) -> None:
        """Close the connection after a malformed request; the supervisor goes on."""
        self.close()

    def close(self) -> None:
        self.closed = True
        self._socket.close()


def refused(why: str) -> Pending:
    """Return the response to a command that is not carried out."""
    return lambda: {"error": why}


def _hold(programs: list[GatedProcess], request: Mapping[str, Any]) -> Pending:
    """End programs and keep them from starting. Finished when all have ended."""
    number = signal.Signals[f"SIG{request['signal']}"]
    for program in programs:
        program.hold(number)
    return lambda: DONE if all(item.state == ProcessStates.STOPPED for item in programs) else None


def _release(programs: list[GatedProcess], _request: Mapping[str, Any]) -> Pending:
    """Let programs start as at boot. Finished when all are ready."""
    for program in programs:
        program.release()

    def ready() -> Response | None:
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
    """Apply `act` to running programs. Finished at once."""
    idle = [program.config.name for program in programs if not program.pid]
    if idle:
        return refused(f"{idle[0]} is not running now")
    for program in programs:
        act(program)
    return lambda: DONE


def _kill(programs: list[GatedProcess], _request: Mapping[str, Any]) -> Pending:
    """Kill programs, which then restart by themselves. Finished when they are dead."""
    idle = [item.config.name for item in programs if item.state != ProcessStates.RUNNING]
    if idle:
        return refused(f"{idle[0]} is not ready now")
    before = [(program, program.pid) for program in programs]
    for program in programs:
        program.kill_on_purpose()

    def dead() -> Response | None:
        alive = [
            program
            for program, pid in before
            if program.state == ProcessStates.RUNNING and program.pid == pid
        ]
        return None if alive else DONE

    return dead


def _restart(programs: list[GatedProcess], _request: Mapping[str, Any]) -> Pending:
    """End a program and start it again. Finished when it is ready, or does not get ready."""
    program = programs[0]
    name, before = program.config.name, program.pid
    if not program.ready or program.restarting:
        return refused(f"{name} is not ready now")
    try:
        program.restart()
    except (OSError, ProcessException) as error:
        return refused(f"{name} goes on as it is, as no other process can be started: {error}")

    def ready() -> Response | None:
        if program.ready and program.pid != before:
            return {"error": f"{name} {WENT_BACK}"} if program.goes_back else DONE
        if program.pid == before and not program.restarting:
            return {"error": f"{name} goes on as it is: its next process has ended; see its log"}
        if program.may_go_back:
            return None
        if program.pauses or program.state in (ProcessStates.BACKOFF, ProcessStates.FATAL):
            return {"error": f"{name} did not get ready; it is tried again, see its log"}
        return None

    return ready


def _compare(programs: list[GatedProcess], _request: Mapping[str, Any]) -> Pending:
    """Say whether programs still have the configuration that they got ready with."""
    for program in programs:
        options = program.config.options
        # Modules of others may have changed, which it names.
        unknown = options.shared_config is None
        found = configuration.read(shlex.split(program.config.command), options.account)
        if unknown or program.used != found:
            return refused("the configuration has changed")
    return lambda: DONE


VERBS: Mapping[str, Verb] = {"restart": _restart, "compare": _compare}
# Of test mode alone.
TEST_VERBS: Mapping[str, Verb] = {
    "hold": _hold,
    "release": _release,
    "pause": _pause,
    "resume": _resume,
    "kill": _kill,
}
