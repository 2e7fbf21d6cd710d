"""Change what a process of the running server logs: its rendered file, then the process itself.

A start renders the files anew, so it gives every level back.
"""

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganglion.control.client import read_secret
from ganglion.control.status import status
from ganglion.errors import ConfigError, Problem
from ganglion.files.write import write_file
from ganglion.logs.record import CRITICAL, INFO, LEVELS
from ganglion.programs import control
from ganglion.programs.redis import client_arguments
from ganglion.programs.synapse.logging import log_config
from ganglion.settings.variables import Settings

# Their lines are few, and no program reads a level for them.
FIXED = ("supervisor", "ganglion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a program's level stands: the file, the text before and behind it, its own words.

    `tell` is the signal that makes the program read the file. `most` is the highest level that it
    may have.
    """

    path: str
    before: str
    behind: str = ""
    words: Mapping[str, str]
    tell: signal.Signals = signal.SIGHUP
    most: str = CRITICAL

    def in_force(self, level: str) -> str:
        """Return the level that the program's word for `level` stands for."""
        return next(found for found in LEVELS if self.words[found] == self.words[level])

    def changed(self, text: str, level: str) -> str:
        """Return the file's text with another level. Raises ValueError if it has none."""
        pattern = rf"(?m)^{re.escape(self.before)}\w+{re.escape(self.behind)}$"
        found, number = re.subn(pattern, f"{self.before}{self.words[level]}{self.behind}", text)
        if number != 1:
            raise ValueError(self.path)
        return found


def _words(debug: str, info: str, warning: str, error: str, critical: str) -> Mapping[str, str]:
    return {
        "DEBUG": debug, "INFO": info, "WARNING": warning, "ERROR": error, "CRITICAL": critical,
    }  # fmt: skip


def place(settings: Settings, name: str) -> Place:
    """Return where the level of a process stands."""
    conf_file = settings.paths.conf_file
    if name == "nginx":
        words = _words("info", "notice", "warn", "error", "crit")
        # The supervisor knows by a line of the level `notice` that nginx is ready again.
        return Place(
            path=conf_file("nginx.conf"),
            before="error_log stderr ",
            behind=";",
            words=words,
            most=INFO,
        )
    if name == "postgres":
        words = _words("debug1", "info", "warning", "error", "fatal")
        path = conf_file("postgresql/postgresql.conf")
        return Place(path=path, before="log_min_messages = ", words=words)
    if name == "redis":
        words = _words("debug", "notice", "warning", "warning", "warning")
        return Place(path=conf_file("redis.conf"), before="loglevel ", words=words)
    words = _words("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if name == control.NAME:
        path = conf_file(control.LEVEL)
        return Place(path=path, before="level: ", words=words, tell=signal.SIGUSR1)
    return Place(path=log_config(settings, name), before="  level: ", words=words)


def set_level(settings: Settings, name: str, level: str) -> str:
    """Have a process log from `level` on, one of logs.record.LEVELS. Return the level in force.

    Raises ConfigError if it does not run, or cannot have the level.
    """
    if name in FIXED:
        hint = f"type `ganglion logs {name} --level {level}` to see those lines alone"
        raise _problem(name, "logs at INFO, and always does", hint)
    running = {item.name: item.pid for item in status(settings)}
    if name not in running:
        raise _problem(name, "is not a process here", f"use one of {', '.join(running)}")
    found = place(settings, name)
    if LEVELS.index(level) > LEVELS.index(found.most):
        hint = f"type `ganglion logs {name} --level {level}` to see those lines alone"
        message = f"cannot log less than {found.most}: the supervisor sees by it that it is ready"
        raise _problem(name, message, hint)
    path = Path(found.path)
    try:
        before = path.stat()
        text = found.changed(path.read_text(encoding="utf-8"), level)
    except (FileNotFoundError, ValueError) as error:
        hint = "use main, a worker, nginx, postgres, redis or control"
        raise _problem(name, "has no level that could be changed", hint) from error
    owner = f"{before.st_uid}:{before.st_gid}" if os.geteuid() == 0 else None
    write_file(path, text, before.st_mode & 0o777, owner, lasting=False)
    if not running[name]:
        # Its next start reads the file.
        return found.in_force(level)
    if name == "redis":
        _tell_redis(settings, found.words[level])
    else:
        os.kill(running[name], found.tell)
    return found.in_force(level)


def _tell_redis(settings: Settings, word: str) -> None:
    import redis  # noqa: PLC0415 - only here, since it takes 0.1 s

    password = read_secret(settings, "redis_password")
    with redis.Redis(**client_arguments(settings), password=password) as client:
        client.config_set("loglevel", word)


def _problem(name: str, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(variable="--set-level", value=name, message=message, hint=hint)])
