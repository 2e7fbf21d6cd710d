"""Requests to a running server, over its own sockets."""

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address

# Seconds that one process may take to answer. /health itself takes milliseconds.
TIMEOUT = 5.0
# Seconds. Longer than any time limit of the control application itself.
CONTROL_TIMEOUT = 660.0


class _Connection(http.client.HTTPConnection):
    """HTTP to one of the server's listeners, on a Unix socket or a port."""

    def __init__(self, address: Address, timeout: float) -> None:
        super().__init__(address.reached, address.port, timeout=timeout)
        self._path = address.path

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(
    address: Address,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    timeout: float = TIMEOUT,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Return the status and the text of one response. `timeout` is in seconds.

    Raises OSError or HTTPException.
    """
    connection = _Connection(address, timeout)
    try:
        connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def call_control(settings: Settings, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the control application's response to one call.

    Raises ConfigError if no server in test mode runs, or if it rejects the call.
    """
    _check_test_mode(settings)
    address = Address(path=settings.paths.control_socket)
    try:
        status, text = request(address, "POST", path, body, CONTROL_TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        raise not_running(settings, f"{address}: {error}") from error
    answer: dict[str, Any] = json.loads(text)
    if status != 200:
        raise ConfigError(
            [
                Problem(
                    variable=path,
                    value=None,
                    message=f"was rejected: {answer['error']}",
                    hint="read docs/testing.md and the log of the server, then try again",
                )
            ]
        )
    return answer


def _check_test_mode(settings: Settings) -> None:
    paths = settings.paths
    if Path(paths.workers).exists() and not Path(paths.command_socket).exists():
        raise ConfigError(
            [
                Problem(
                    variable="GANGLION_TEST_MODE",
                    value="no",
                    message="the running server is not in test mode and has no test controls",
                    hint="start a server without real users with GANGLION_TEST_MODE=yes",
                )
            ]
        )


def read_secret(settings: Settings, name: str) -> str:
    """Read a secret of the running server. Raises ConfigError if no server runs."""
    try:
        text = Path(settings.paths.secret(name)).read_text(encoding="utf-8")
    except OSError as error:
        raise not_running(settings, f"{error.filename}: {error.strerror}") from error
    return text.strip()


def not_running(settings: Settings, reason: str) -> ConfigError:
    """Make the error for a server that does not answer."""
    return ConfigError(
        [
            Problem(
                variable="GANGLION_RUN",
                value=settings.run,
                message=f"no server answers here: {reason}",
                hint="start one with `ganglion run`, or set GANGLION_RUN to the directory of the"
                " running server",
            )
        ]
    )
