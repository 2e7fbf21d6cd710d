"""The Redis server that the operator's files name.

The variables REDIS_* count more than the files. Without a host, or with this machine as the host,
the embedded server is used: nothing in Redis needs to be kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ganglion.errors import ConfigError, Problem, reason
from ganglion.settings import parsers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import LARGEST_SECRET, read_text
from ganglion.settings.variables import Settings

# Hosts that mean the machine itself, which in a container has no other Redis server.
OURSELVES = ("localhost", "127.0.0.1", "::1")
# The options that name the server, each with its field of Settings and its parser.
OF_SERVER: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("host", "redis_host", parsers.host),
    ("path", "redis_path", parsers.absolute_path),
    ("port", "redis_port", parsers.port),
    ("dbid", "redis_dbid", parsers.whole_number(0, 1023)),
    ("password", "redis_password", parsers.password),
    ("use_tls", "redis_tls", parsers.boolean),
)
# Options passed through to Synapse: synapse/config/redis.py.
REST = ("username", "certificate_file", "private_key_file", "ca_file", "ca_path")


def adopt(settings: Settings, operator: OperatorFiles) -> Settings:
    """Return the settings with the Redis server of the files. Raises ConfigError."""
    section = operator.section("redis")
    if not _is_external(settings, operator):
        return settings
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    if settings.redis_host is None:
        values, problems = _server(operator)
    # A variable counts more.
    if "REDIS_PASSWORD" in settings.given:
        values.pop("redis_password", None)
    rest = tuple((name, section[name]) for name in REST if section.get(name) is not None)
    chosen = replace(settings, **values, redis_args=rest)
    if section.get("username") and not chosen.redis_password:
        message = "has username without a password"
        problems.append(_problem(operator, message, "add password, or set REDIS_PASSWORD"))
    if problems:
        raise ConfigError(problems)
    return chosen


def _server(operator: OperatorFiles) -> tuple[dict[str, Any], list[Problem]]:
    """Return our settings for the server of the files, and the problems with it."""
    section = operator.section("redis")
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name, field, parser in OF_SERVER:
        if section.get(name) not in (None, ""):
            try:
                values[field] = parser(str(section[name]))
            except parsers.Invalid as invalid:
                message = f"{name} {invalid.message}"
                problems.append(_problem(operator, message, invalid.hint))
    if values.get("redis_path"):
        values["redis_host"] = None
    path = section.get("password_path")
    if path and section.get("password"):
        message = "has password and password_path"
        problems.append(_problem(operator, message, "remove one of them"))
    elif path:
        try:
            values["redis_password"] = read_text(str(path), LARGEST_SECRET).strip()
        except (OSError, ValueError) as error:
            message = f"password_path cannot be read: {reason(error)}"
            problems.append(_problem(operator, message, "give a readable file"))
    return values, problems


def notes(settings: Settings, operator: OperatorFiles) -> tuple[str, ...]:
    """Return where Redis is, where the files say it, and each part of `redis` that is not used."""
    where = operator.sources.get("redis", "your files")
    found = [
        f"{where}: redis.{part} has no effect: {why}" for part, why in _lost(settings, operator)
    ]
    if not settings.embedded_redis and "REDIS_HOST" not in settings.given:
        server = settings.redis_path or settings.redis_host
        found.insert(0, f"the Redis server is the one in your files, {server}")
    return tuple(found)


def _lost(settings: Settings, operator: OperatorFiles) -> Iterator[tuple[str, str]]:
    section = operator.section("redis")
    if section.get("enabled") is False:
        yield "enabled", "the processes replicate over Redis"
    for name, value in section.items():
        if name == "enabled" or value is None:
            continue
        if settings.embedded_redis:
            yield name, "the embedded Redis server is used; REDIS_HOST names another"
        elif "REDIS_HOST" in settings.given and name not in REST:
            yield name, "REDIS_HOST is set"
        elif settings.redis_path is not None and name in ("host", "port", "use_tls"):
            yield name, "path is set"
        elif name in ("password", "password_path") and "REDIS_PASSWORD" in settings.given:
            yield name, "REDIS_PASSWORD is set"
        elif name not in {item for item, _, _ in OF_SERVER} | {*REST, "password_path"}:
            yield name, "Synapse has no such option"


def _is_external(settings: Settings, operator: OperatorFiles) -> bool:
    if settings.redis_host is not None:
        return True
    section = operator.section("redis")
    host = section.get("host")
    named = section.get("path") or (host and host not in OURSELVES)
    return bool(section.get("enabled") and named)


def _problem(operator: OperatorFiles, message: str, hint: str) -> Problem:
    where = operator.sources.get("redis", "your files")
    return Problem(variable=where, value=None, message=f"redis: {message}", hint=hint)
