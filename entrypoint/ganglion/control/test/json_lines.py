"""Asking over unix sockets, one line of JSON each way."""

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from ganglion.control.refusal import Json, Refusal

# In seconds, over what the other side was given itself to answer.
GRACE = 2.0


def ask(path: str, name: str, request: Mapping[str, Any], within: float) -> Json:
    """The answer of one process, `name`, that listens at `path`."""
    return ask_all({name: path}, {name: request}, within)[name]


def ask_all(
    paths: Mapping[str, str], requests: Mapping[str, Mapping[str, Any]], within: float
) -> dict[str, Json]:
    """The answers of several processes, which are asked all at once.

    Raises Refusal for one that does not run, does not answer in `within` seconds, or refuses.
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
        return Refusal(504, f"{name} does not answer in {within:.1f} s; is it paused?")
    return Refusal(409, f"{name} does not run at the moment")
