"""Asks the control application, by its own socket."""

import http.client
import json
from pathlib import Path
from typing import Any

from ganglion.cli.test import Call
from ganglion.control.inspection import not_running, request
from ganglion.errors import ConfigError, Problem
from ganglion.programs.control import CONF
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address

# Longer than the application gives itself for anything, in seconds.
WITHIN = 660.0


def ask(settings: Settings, call: Call) -> dict[str, Any]:
    """The answer to a call.

    Raises ConfigError where the server is none for tests, or refuses.
    """
    _see_test_mode(settings)
    address = Address(path=settings.paths.control_socket)
    try:
        status, text = request(address, "POST", call.path, call.body, WITHIN)
    except (OSError, http.client.HTTPException) as error:
        raise not_running(settings, f"{address}: {error}") from error
    answer: dict[str, Any] = json.loads(text)
    if status != 200:
        raise ConfigError(
            [
                Problem(
                    variable=call.path,
                    value=None,
                    message=f"was refused: {answer['error']}",
                    hint="see docs/testing.md, and the log of the server",
                )
            ]
        )
    return answer


def _see_test_mode(settings: Settings) -> None:
    paths = settings.paths
    if Path(paths.workers).exists() and not Path(paths.conf_file(CONF)).exists():
        raise ConfigError(
            [
                Problem(
                    variable="GANGLION_TEST_MODE",
                    value="no",
                    message="the server that runs here is none for tests, and has no controls",
                    hint="start it with GANGLION_TEST_MODE=yes; never where real users are",
                )
            ]
        )
