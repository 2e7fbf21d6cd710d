"""A server as a Docker container."""

import io
import os
import secrets
import subprocess
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

from pytest_ganglion.configuration import Configuration, Options
from pytest_ganglion.errors import NoServer
from pytest_ganglion.server import LAST_LINES, Child, cut, spawn, tail

# In seconds, for a command that queries the engine or creates a container.
ANSWERS_WITHIN = 60.0
HOST = "host.docker.internal"
# Finds containers that were left behind: docker ps --filter label=org.pytest.ganglion.
LABEL = "org.pytest.ganglion"


def start(
    configuration: Configuration, options: Options, log_path: Path, environ: Mapping[str, str]
) -> Child:
    """Start a container. It is removed when it ends.

    Raises NoServer if there is no engine or no such image, or if it does not start.
    """
    _require(options.image)
    name = f"pytest-ganglion-{secrets.token_hex(6)}"
    # Docker does not reach the container's loopback; it publishes the port on this machine's.
    variables = {"CONTROL_BIND_ADDRESS": "*", **configuration.variables}
    if configuration.registers_services:
        variables["SYNAPSE_AS_REGISTRATION_DIR"] = "/data/appservices"
    settings = [word for pair in variables.items() for word in ("--env", "=".join(pair))]
    _docker(
        *("create", "--name", name, "--label", LABEL),
        # The plugin checks itself; Docker would start a process in it twice a second.
        "--no-healthcheck",
        # On loopback only: a server in test mode is open to everybody. The engine picks the ports.
        *("--publish", "127.0.0.1::8008", "--publish", "127.0.0.1::9469"),
        # Lets it reach an application service on this machine.
        *("--add-host", f"{HOST}:host-gateway"),
        *settings,
        options.image,
    )
    # Copied in, not mounted: the engine may see another file system.
    if configuration.files:
        _docker("cp", "-", f"{name}:/", stdin=_archive(configuration.files))
    process = spawn(
        ["docker", "start", "--attach", name],
        environ,
        log_path,
        cleaning=[["docker", "rm", "--force", "--volumes", name]],
    )
    try:
        ports = {port: _published(name, port, process, log_path) for port in (8008, 9469)}
    except BaseException:
        cut(process)
        raise
    return Child(
        process=process,
        log_path=log_path,
        url=f"http://{ports[8008]}",
        control_url=f"http://{ports[9469]}",
        host=HOST,
    )


def _require(image: str) -> None:
    """Check that there is an engine, and the image."""
    try:
        asked = _run("image", "inspect", "--format", "{{.Id}}", image)
    except FileNotFoundError:
        raise NoServer(
            "the program docker is not installed",
            fix="install Docker, or run the server without it: --ganglion=native (see README.md of"
            " pytest-ganglion)",
        ) from None
    if asked.returncode == 0:
        return
    said = asked.stderr.decode(errors="replace").strip()
    if "no such image" in said.lower() or "not found" in said.lower():
        raise NoServer(
            f"there is no Docker image {image}",
            fix=f"build it in a clone of Ganglion (GANGLION_IMAGE={image} scripts/build), pull it"
            f" (docker pull {image}), or name another: --ganglion-image=NAME",
        )
    raise NoServer(
        f"no Docker engine answers: {said}",
        fix="start it, let this account use it, or run the server without Docker:"
        " --ganglion=native",
    )


def _published(name: str, port: int, process: subprocess.Popen[bytes], log_path: Path) -> str:
    """Return the address of a published port of a starting container."""
    deadline = time.monotonic() + ANSWERS_WITHIN
    while not (found := _run("port", name, f"{port}/tcp").stdout.decode().split()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServer(
                f"the container {name} did not start",
                fix="look for the cause in its log",
                log=tail(log_path.read_text(errors="replace"), LAST_LINES),
            )
        time.sleep(0.02)
    return found[0]


def _archive(files: tuple[tuple[str, str], ...]) -> bytes:
    """Pack files of the data directory for `docker cp`, owned by root and readable by all."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in files:
            content = text.encode()
            entry = tarfile.TarInfo(os.path.normpath(f"data/{name}"))
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def _docker(*words: str, stdin: bytes = b"") -> None:
    done = _run(*words, stdin=stdin)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise NoServer(f"docker {words[0]} failed: {said}", fix="see Docker's message above")


def _run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["docker", *words], input=stdin, capture_output=True, timeout=ANSWERS_WITHIN, check=False
    )
