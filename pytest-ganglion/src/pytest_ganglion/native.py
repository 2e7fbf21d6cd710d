"""A server as a program of this machine."""

import os
import random
import shlex
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pytest_ganglion.configuration import Configuration, Options
from pytest_ganglion.errors import NoServer
from pytest_ganglion.server import Child, spawn

LOOPBACK = "127.0.0.1"


def start(
    configuration: Configuration, options: Options, log_path: Path, environ: Mapping[str, str]
) -> Child:
    """Start a server in its own directory. Raises NoServer if the program is missing."""
    command = _command(options, environ)
    # Paths of unix sockets must be short, and the accounts of the processes must be able to enter,
    # which pytest's own directories forbid.
    root = Path(tempfile.mkdtemp(prefix="ganglion-", dir="/tmp"))
    root.chmod(0o755)
    data = root / "data"
    data.mkdir()
    for name, text in configuration.files:
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    reserved = reserve(3)
    http_port, federation_port, control_port = (sock.getsockname()[1] for sock in reserved)
    variables = {
        # Not the whole environment: variables for another server would apply to this one.
        "PATH": f"{environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "GANGLION_DATA": str(data),
        "GANGLION_RUN": str(root / "run"),
        "HTTP_PORT": str(http_port),
        "FEDERATION_PORT": str(federation_port),
        "CONTROL_PORT": str(control_port),
        "BIND_ADDRESS": LOOPBACK,
        **configuration.variables,
    }
    if configuration.registers_services:
        variables["SYNAPSE_AS_REGISTRATION_DIR"] = str(data / "appservices")
    return Child(
        process=spawn([*command, "run"], variables, log_path, directories=[root]),
        log_path=log_path,
        url=f"http://{LOOPBACK}:{http_port}",
        control_url=f"http://{LOOPBACK}:{control_port}",
        host=LOOPBACK,
        reserved=reserved,
    )


def _command(options: Options, environ: Mapping[str, str]) -> list[str]:
    program, *words = shlex.split(options.command)
    if "/" in program:
        program = str(options.root / Path(program).expanduser())
    if shutil.which(program, path=environ.get("PATH")) is None:
        raise NoServer(
            f"the program {program} is not installed",
            fix="run scripts/setup in a clone of Ganglion, and name its program:"
            ' --ganglion-command="CLONE/.venv/bin/python -P -m ganglion"; or run the server in'
            " Docker: --ganglion=docker",
        )
    return [program, *words]


def reserve(count: int) -> list[socket.socket]:
    """Bind sockets to `count` ports of 127.0.0.1, for a server to take while they are open.

    A server binds with SO_REUSEADDR, and Linux lets it share a port with a socket that has this
    option too and does not listen. The option is set only after the bind here, so no other
    reservation gets the port. Ports are below 32768: the kernel gives those above to outgoing
    connections.
    """
    found: list[socket.socket] = []
    while len(found) < count:
        sock = socket.socket()
        try:
            sock.bind((LOOPBACK, random.randrange(20000, 32768)))  # noqa: S311 - no secret
        except OSError:
            sock.close()
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.append(sock)
    return found
