"""Ask for a new password."""

import getpass
from typing import TextIO

from ganglion.errors import ConfigError, Problem


def ask(stdin: TextIO) -> str:
    """Read a new password: typed twice at a terminal, else the first line of `stdin`.

    Raises ConfigError if it is empty or not the same both times.
    """
    if not stdin.isatty():
        password = stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("password: ")
        if getpass.getpass("again: ") != password:
            raise _bad("is not the same both times")
    if not password:
        raise _bad("is empty")
    return password


def _bad(message: str) -> ConfigError:
    return ConfigError(
        [
            Problem(
                variable="password",
                value=None,
                message=message,
                hint="type it again, or write it as one line to standard input",
            )
        ]
    )
