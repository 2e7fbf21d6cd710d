"""A unix socket of the supervisor's, which its own account alone may connect to."""

import socket
from pathlib import Path


def listener(path: str) -> socket.socket:
    """Listen at a path, in place of a socket that a dead supervisor left there. Never blocks."""
    Path(path).unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    found.bind(path)
    Path(path).chmod(0o600)
    found.listen()
    return found
