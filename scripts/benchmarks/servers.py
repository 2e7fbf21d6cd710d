"""Servers to measure: in Docker, as users run them, or as programs of this machine."""

import argparse
import contextlib
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from scripts.benchmarks.variants import Variant
from tests import harness
from tests.image.engine import Container, docker

READY_WITHIN = 180.0
# In seconds, between two looks. A look at a socket that is not there yet takes microseconds.
BETWEEN_LOOKS = 0.005
STAGE = re.compile(r"([\w -]+?) ([\d.]+)")
TIMELINE = re.compile(r"everything runs after ([\d.]+) s(?:: (.*))?")
REQUEST = b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How long a start took until every process answered, in seconds, as we saw it from outside;
    and its stages, as the server tells them of itself.
    """

    seconds: float
    stages: Mapping[str, float]


class Server(Protocol):
    """One server over one data directory, which may be started and stopped several times."""

    base_url: str

    def start(self) -> Boot:
        """Start it and wait until all its processes answer."""

    def stop(self) -> None:
        """Stop it. Raises AssertionError where it does not end well."""

    @property
    def supervisor(self) -> int:
        """The number of its first process on this machine."""


def timeline(log: str) -> dict[str, float]:
    """The stages of the last start of which a log tells, in seconds, and their sum as "total"."""
    found = TIMELINE.findall(log)
    if not found:
        return {}
    total, stages = found[-1]
    return {name.strip(): float(took) for name, took in STAGE.findall(stages)} | {
        "total": float(total)
    }


def addresses(checked: str) -> list[str]:
    """The listeners of all Synapse's processes, out of what `ganglion check --json` prints."""
    return [process["address"] for process in json.loads(checked)["processes"]]


def wait_ready(listeners: list[str], root: str, port: int, alive: float = READY_WITHIN) -> None:
    """Wait until each of Synapse's processes answers, and then nginx.

    `root` is where the server's root directory is to be found from here. Raises AssertionError
    where one does not answer in time.
    """
    deadline = time.monotonic() + alive
    for address in [*listeners, f"127.0.0.1:{port}"]:
        while not _healthy(address, root):
            assert time.monotonic() < deadline, f"{address} does not answer in {alive:.0f} s"
            time.sleep(BETWEEN_LOOKS)


def _healthy(address: str, root: str) -> bool:
    path = address.removeprefix("unix:")
    unix = path != address
    where = f"{root}{path}" if unix else ("127.0.0.1", int(address.rpartition(":")[2]))
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as connection,
    ):
        connection.settimeout(5)
        connection.connect(where)
        connection.sendall(REQUEST)
        return b" 200 " in connection.recv(64)
    return False


class Native:
    """A program of this machine, with the harness that tests use too."""

    def __init__(self, variant: Variant) -> None:
        self._server = harness.Server(workers=None, environment=variant.variables)
        self.base_url = self._server.base_url
        checked = self._server.ganglion("check", "--json")
        assert checked.returncode == 0, checked.stderr
        self._listeners = addresses(checked.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(None, None, None)

    def start(self) -> Boot:
        before = self._server.log.mark()
        began = time.monotonic()
        self._server.launch()
        wait_ready(self._listeners, "", self._server.http_port)
        seconds = time.monotonic() - began
        return Boot(seconds=seconds, stages=timeline(self._server.log.text(before)))

    def stop(self) -> None:
        self._server.stop()

    @property
    def supervisor(self) -> int:
        assert self._server.process is not None
        return self._server.process.pid


class InDocker:
    """A container with our image.

    With `quick` clients, it shares this machine's network and has the tests' files that lift the
    rate limits: no proxy of Docker's is between them and nginx. Otherwise it is what
    `docker run --publish` makes of it.
    """

    def __init__(self, variant: Variant, image: str, *, quick: bool) -> None:
        self._port = harness.free_port()
        self.base_url = f"http://127.0.0.1:{self._port}"
        network = ["--publish", f"127.0.0.1:{self._port}:8008"]
        variables = dict(variant.variables)
        if quick:
            network = ["--network", "host"]
            variables |= {"HTTP_PORT": str(self._port), "BIND_ADDRESS": "127.0.0.1"}
            variables |= {
                "SYNAPSE_REGISTRATION_SHARED_SECRET": harness.SHARED_SECRET,
                "GANGLION_ADMIN_NETWORKS": "127.0.0.1/32",
            }
        settings = [f"--env={name}={value}" for name, value in variables.items()]
        self._made = [*network, *settings, image]
        self._quick = quick
        self._container: Container | None = None
        self._listeners = addresses(docker("run", "--rm", *settings, image, "check", "--json"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._container is not None:
            docker("rm", "--force", "--volumes", self._container.id)

    def start(self) -> Boot:
        if self._container is None and self._quick:
            self._container = Container(docker("create", *self._made))
            self._container.put("/data/homeserver.d", {"00-tests.yaml": harness.OPERATOR_FILE})
        began = time.monotonic()
        if self._container is None:
            self._container = Container(docker("run", "--detach", *self._made))
        else:
            self._container.start()
        wait_ready(self._listeners, f"/proc/{self.supervisor}/root", self._port)
        seconds = time.monotonic() - began
        return Boot(seconds=seconds, stages=timeline(self._container.log()))

    def stop(self) -> None:
        assert self._container is not None
        self._container.stop()

    @property
    def supervisor(self) -> int:
        assert self._container is not None
        return int(self._container.inspect()["State"]["Pid"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say where servers run."""
    parser.add_argument("--native", action="store_true", help="programs of this machine: no Docker")
    parser.add_argument(
        "--image", default="ganglion", help="the image, which scripts/build makes (ganglion)"
    )


def image(options: argparse.Namespace) -> str | None:
    """The image that is measured; none where programs of this machine are."""
    return None if options.native else str(options.image)


@contextlib.contextmanager
def server(
    variant: Variant, options: argparse.Namespace, *, quick: bool = False
) -> Iterator[Server]:
    """A server that does not run yet; gone afterwards with its data."""
    made: Native | InDocker = (
        Native(variant) if options.native else InDocker(variant, str(options.image), quick=quick)
    )
    try:
        with made:
            yield made
    except subprocess.CalledProcessError as error:
        error.add_note(f"{error.stdout}{error.stderr}")
        raise
