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

# In seconds, for a command that asks the engine something, or makes a container.
ANSWERS_WITHIN = 60.0
HOST = "host.docker.internal"
# By these every container of ours can be found, should one ever be left: docker ps --filter.
LABEL = "org.pytest.ganglion"


def start(
    configuration: Configuration, options: Options, log_path: Path, environ: Mapping[str, str]
) -> Child:
    """Start a container, which is removed when it has ended.

    Raises NoServer where there is no engine or no such image, or it does not start.
    """
    _require(options.image)
    name = f"pytest-ganglion-{secrets.token_hex(6)}"
    variables = dict(configuration.variables)
    if configuration.registers_services:
        variables["SYNAPSE_AS_REGISTRATION_DIR"] = "/data/appservices"
    settings = [word for pair in variables.items() for word in ("--env", "=".join(pair))]
    _docker(
        *("create", "--name", name, "--label", LABEL),
        # We look ourselves, and Docker would start a process in it twice a second to do so.
        "--no-healthcheck",
        # To nobody else: it is open to whoever reaches it. The engine chooses the ports.
        *("--publish", "127.0.0.1::8008", "--publish", "127.0.0.1::9469"),
        # So that it reaches an application service that runs here.
        *("--add-host", f"{HOST}:host-gateway"),
        *settings,
        options.image,
    )
    # Copied in, not mounted: the engine may have another view of the file system than we.
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
    """See that there is an engine, and the image."""
    try:
        asked = _run("image", "inspect", "--format", "{{.Id}}", image)
    except FileNotFoundError:
        raise NoServer(
            "there is no program docker",
            fix="install Docker, or run the server without it: --ganglion=native (README.md of"
            " pytest-ganglion says how)",
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
        fix="start it, see that this account may use it, or run the server without Docker:"
        " --ganglion=native",
    )


def _published(name: str, port: int, process: subprocess.Popen[bytes], log_path: Path) -> str:
    """The address at which a port of a container that is starting can be reached."""
    deadline = time.monotonic() + ANSWERS_WITHIN
    while not (found := _run("port", name, f"{port}/tcp").stdout.decode().split()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServer(
                f"the container {name} did not start",
                fix="see why in its log",
                log=tail(log_path.read_text(errors="replace"), LAST_LINES),
            )
        time.sleep(0.02)
    return found[0]


def _archive(files: tuple[tuple[str, str], ...]) -> bytes:
    """Files of the data directory, as `docker cp` takes them: root's, and for everybody to read."""
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
        raise NoServer(f"docker {words[0]} failed: {said}", fix="see what Docker says of it")


def _run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["docker", *words], input=stdin, capture_output=True, timeout=ANSWERS_WITHIN, check=False
    )
