"""Send requests over unix sockets: one line of JSON each way."""

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from ganglion.control.refusal import Json, Refusal

# In seconds: added to the time that the other side itself has for a response.
GRACE = 2.0


def ask(path: str, name: str, request: Mapping[str, Any], within: float) -> Json:
    """Return the response of the process `name`, which listens at `path`. See ask_all."""
    return ask_all({name: path}, {name: request}, within)[name]


def ask_all(
    paths: Mapping[str, str], requests: Mapping[str, Mapping[str, Any]], within: float
) -> dict[str, Json]:
    """Send requests to several processes at the same time. Return the response of each.

    `paths` and `requests` are by the names of the processes.

    Raises Refusal for the first process that is not running, does not respond within `within`
    seconds, or responds with an error.
    """
    deadline = time.monotonic() + within
    answers: dict[str, Json] = {}
    with contextlib.ExitStack() as open_sockets:
        asked = {}
        for name, request in requests.items():
            connection = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
            try:
                connection.settimeout(within)
                connection.connect(paths[name])
                connection.sendall(json.dumps(request).encode() + b"\n")
            except OSError as error:
                raise _no_answer(name, error, within) from error
            asked[name] = connection
        for name, connection in asked.items():
            answers[name] = _line(name, connection, deadline, within)
    return answers


def _line(name: str, connection: socket.socket, deadline: float, within: float) -> Json:
    received = b""
    try:
        while not received.endswith(b"\n"):
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError
            received += data
    except OSError as error:
        raise _no_answer(name, error, within) from error
    answer: Json = json.loads(received)
    if "error" in answer:
        raise Refusal(answer.get("status", 409), f"{name}: {answer['error']}")
    return answer


def _no_answer(name: str, error: OSError, within: float) -> Refusal:
    if isinstance(error, TimeoutError):
        return Refusal(
            504, f"{name} did not respond within {within:.1f} s; if it is paused, resume it"
        )
    return Refusal(409, f"{name} is not running now")
