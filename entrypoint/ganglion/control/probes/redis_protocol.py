"""A question to Redis in its own protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/

The client library takes 10 MB of a process that lives as long as the server, for one question.
"""

import contextlib
import socket
from collections.abc import Mapping, Sequence
from typing import IO, Any

from ganglion.control.client import read_secret
from ganglion.errors import ConfigError
from ganglion.programs.redis import client_arguments
from ganglion.settings.variables import Settings

# In bytes; INFO takes 7 kB.
LONGEST_LINE, LONGEST_TEXT = 64 * 1024, 1024**2


class Refused(Exception):
    """Redis has answered with an error. The text is its own."""


def ask(settings: Settings, command: Sequence[str], timeout: float) -> Any:  # noqa: ANN401 - by command
    """Log in, send one command and return its reply: text, a number, None or a list of these.

    Raises Refused, and OSError, which has a timeout too. `timeout` is in seconds for each step.
    """
    where = client_arguments(settings)
    password = None
    with contextlib.suppress(ConfigError):
        password = read_secret(settings, "redis_password")
    with contextlib.closing(_connected(where, timeout)) as connection:
        connection.settimeout(timeout)
        both: Any = connection.makefile("rwb")
        with both as stream:
            if password is not None:
                user = [where["username"]] if "username" in where else []
                _call(stream, ("AUTH", *user, password))
            return _call(stream, command)


def _connected(where: Mapping[str, Any], timeout: float) -> socket.socket:
    path = where.get("unix_socket_path")
    if path is None:
        plain = socket.create_connection((where["host"], where["port"]), timeout)
        return _encrypted(plain, where) if where.get("ssl") else plain
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _encrypted(plain: socket.socket, where: Mapping[str, Any]) -> socket.socket:
    import ssl  # noqa: PLC0415 - few servers need it

    context = ssl.create_default_context(
        cafile=where.get("ssl_ca_certs"), capath=where.get("ssl_ca_path")
    )
    if "ssl_certfile" in where:
        context.load_cert_chain(where["ssl_certfile"], where.get("ssl_keyfile"))
    return context.wrap_socket(plain, server_hostname=where["host"])


def _call(stream: IO[bytes], words: Sequence[str]) -> Any:  # noqa: ANN401 - by command
    parts = [word.encode() for word in words]
    stream.write(b"*%d\r\n" % len(parts))
    for part in parts:
        stream.write(b"$%d\r\n%s\r\n" % (len(part), part))
    stream.flush()
    return reply(stream)


def reply(stream: IO[bytes]) -> Any:  # noqa: ANN401 - by command
    """Read one reply. Raises Refused for an error, and ConnectionError for another protocol."""
    line = stream.readline(LONGEST_LINE)
    kind, text = line[:1], line[1:].strip().decode("utf-8", "replace")
    if not line.endswith(b"\r\n"):
        raise ConnectionError("it closed the connection")
    if kind == b"-":
        raise Refused(text)
    if kind == b"+":
        return text
    number = int(text) if text.removeprefix("-").isdigit() else None
    if number is None or number > LONGEST_TEXT or kind not in b":$*":
        raise ConnectionError(f"it does not speak Redis's protocol: {line[:40]!r}")
    if kind == b":":
        return number
    if number < 0:
        return None
    if kind == b"*":
        return [reply(stream) for _ in range(number)]
    content = stream.read(number + 2)
    return content[:-2].decode("utf-8", "replace")
