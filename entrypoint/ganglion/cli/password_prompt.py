"""A password from whoever runs us."""

import getpass
from typing import TextIO

from ganglion.errors import ConfigError, Problem


def ask(stdin: TextIO) -> str:
    """A new password: typed twice at a terminal, else the first line of `stdin`.

    Raises ConfigError where it is empty or not the same both times.
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
                hint="type it again, or give it as one line on standard input",
            )
        ]
    )
