"""Servers to measure: in Docker, as users run them, programs of this machine, and Synapse's own."""

import argparse
import contextlib
import json
import re
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from benchmarks.variants import Variant
from ganglion.topology.roles import PRESETS
from tests import harness
from tests.certificates import Authority
from tests.image.engine import Container, docker

READY_WITHIN = 180.0
# In seconds, between two looks. A look at a socket that is not there yet takes microseconds.
BETWEEN_LOOKS = 0.005
STAGE = re.compile(r"([\w -]+?) ([\d.]+)")
TIMELINE = re.compile(r"everything runs after ([\d.]+) s(?:: (.*))?")
HEALTH = "/health"
# The port of nginx in containers: Ganglion's default, and fixed in Synapse's own image.
PORT = 8008
# Synapse's own image in Complement's mode: a path that its nginx passes on (/health is not one);
# the ports of its main process and its first worker; the secret to register with. Rate limits are
# lifted there, and a password costs little to check.
# https://github.com/element-hq/synapse/tree/develop/docker
VERSIONS = "/_matrix/client/versions"
MAIN_PORT = 8080
FIRST_WORKER_PORT = 18009
PEER_SECRET = "complement"  # noqa: S105 - for everybody to know
AS_PEER = "bcrypt_rounds: 4\n"
# In seconds. Its supervisor kills processes after ten.
PEER_STOPS_WITHIN = 60
NOTE = (
    " Synapse's own image is {peer} on the machine of this run: Synapse's workers with "
    "PostgreSQL and Redis in one container, in the mode that Complement uses, and with the same "
    "roles. It listens on ports of its own choice; hence both are asked at their containers' "
    "addresses on Docker's network, which no proxy of Docker's is before, and both containers are "
    "made before the clock starts. Both check passwords by four rounds of bcrypt. Its processes, "
    "other than the supervisor, look alike from outside, so all are listed as forked."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """The time of a start until every process answered, in seconds, measured from outside; and its
    stages, from the server's own log.
    """

    seconds: float
    stages: Mapping[str, float]


class Server(Protocol):
    """One server over one data directory, which may be started and stopped several times."""

    secret: str
    """The shared secret to register users with."""

    @property
    def base_url(self) -> str:
        """The URL for clients, once it runs."""

    def start(self) -> Boot:
        """Start it and wait until all its processes answer."""

    def stop(self) -> None:
        """Stop it. Raises AssertionError if it does not end with status 0."""

    @property
    def supervisor(self) -> int:
        """The ID of its first process on this machine."""


def timeline(log: str) -> dict[str, float]:
    """Return the stages of the last start in a log, in seconds, and their sum as "total"."""
    found = TIMELINE.findall(log)
    if not found:
        return {}
    total, stages = found[-1]
    return {name.strip(): float(took) for name, took in STAGE.findall(stages)} | {
        "total": float(total)
    }


def addresses(checked: str) -> list[str]:
    """Return the listeners of all Synapse processes from the output of `ganglion check --json`."""
    return [process["address"] for process in json.loads(checked)["processes"]]


def peer_roles(layout: str) -> list[str]:
    """A layout in the syntax of Synapse's own image: the entries of a preset or of WORKERS."""
    return PRESETS.get(layout, layout).replace(",", " ").split()


def peer_ports(roles: list[str]) -> list[int]:
    """The listeners of all Synapse's processes in that image, main's first."""
    workers = sum(int(role.partition(":")[2] or 1) for role in roles)
    return [MAIN_PORT, *range(FIRST_WORKER_PORT, FIRST_WORKER_PORT + workers)]


def wait_ready(
    listeners: list[str],
    root: str,
    public: str,
    path: str = HEALTH,
    alive: float = READY_WITHIN,
) -> None:
    """Wait until each of Synapse's processes answers, and then nginx at `public`, asked for `path`.

    `root` is where the server's root directory is to be found from here. Raises AssertionError
    where one does not answer in time.
    """
    deadline = time.monotonic() + alive
    for address, asked in [*((listener, HEALTH) for listener in listeners), (public, path)]:
        while not _answers(address, root, asked):
            assert time.monotonic() < deadline, f"{address} does not answer in {alive:.0f} s"
            time.sleep(BETWEEN_LOOKS)


def _answers(address: str, root: str, path: str) -> bool:
    socket_path = address.removeprefix("unix:")
    unix = socket_path != address
    host, _, port = address.rpartition(":")
    where = f"{root}{socket_path}" if unix else (host, int(port))
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as connection,
    ):
        connection.settimeout(5)
        connection.connect(where)
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return b" 200 " in connection.recv(64)
    return False


class Native:
    """A native server, with the harness of the tests."""

    secret = harness.SHARED_SECRET

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
        wait_ready(self._listeners, "", f"127.0.0.1:{self._server.http_port}")
        seconds = time.monotonic() - began
        return Boot(seconds=seconds, stages=timeline(self._server.log.text(before)))

    def stop(self) -> None:
        self._server.stop()

    @property
    def supervisor(self) -> int:
        assert self._server.process is not None
        return self._server.process.pid


class InDocker(ABC):
    """A container, created out of these words for `docker create`, with these files by directory.

    Clients ask at `port` of this machine, or, where `own_address`, of the container itself. One
    without files is created as it is started, by `docker run`.
    """

    secret = harness.SHARED_SECRET

    def __init__(
        self,
        words: list[str],
        files: Mapping[str, Mapping[str, str]],
        *,
        port: int = PORT,
        own_address: bool,
    ) -> None:
        self._words = words
        self._files = files
        self._port = port
        self._own_address = own_address
        self._host = "127.0.0.1"
        self._container: Container | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._container is not None:
            docker("rm", "--force", "--volumes", self._container.id)

    def start(self) -> Boot:
        if self._container is None and self._files:
            self._container = Container(docker("create", *self._words))
            for directory, files in self._files.items():
                self._container.put(directory, files)
        began = time.monotonic()
        if self._container is None:
            self._container = Container(docker("run", "--detach", *self._words))
        else:
            self._container.start()
        state = self._container.inspect()
        if self._own_address:
            self._host = str(state["NetworkSettings"]["IPAddress"])
        try:
            self._wait(f"/proc/{state['State']['Pid']}/root")
        except AssertionError as error:
            error.add_note(self._container.log()[-4000:])
            raise
        seconds = time.monotonic() - began
        return Boot(seconds=seconds, stages=timeline(self._container.log()))

    @abstractmethod
    def _wait(self, root: str) -> None:
        """Wait until all answer; `root` is where its root directory is to be found from here."""

    def stop(self) -> None:
        assert self._container is not None
        self._container.stop()

    def log(self) -> str:
        """Return all that it wrote."""
        assert self._container is not None
        return self._container.log()

    @property
    def base_url(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def supervisor(self) -> int:
        assert self._container is not None
        return int(self._container.inspect()["State"]["Pid"])


class Ours(InDocker):
    """A container with Ganglion's image.

    With `quick` clients, it shares this machine's network and has the tests' files that lift the
    rate limits: no proxy of Docker's is between them and nginx. Otherwise it is what
    `docker run --publish` makes of it. With a peer `beside` it, it is asked as that one is: at its
    own address.
    """

    def __init__(self, variant: Variant, image: str, *, quick: bool, beside: bool) -> None:
        port = PORT if beside else harness.free_port()
        network = [] if beside else ["--publish", f"127.0.0.1:{port}:{PORT}"]
        variables = dict(variant.variables)
        files = {"10-peer.yaml": AS_PEER} if beside else {}
        if quick:
            files |= {"00-tests.yaml": harness.OPERATOR_FILE}
            variables |= {"SYNAPSE_REGISTRATION_SHARED_SECRET": self.secret}
            variables |= {"GANGLION_ADMIN_NETWORKS": "private" if beside else "127.0.0.1/32"}
        if quick and not beside:
            network = ["--network", "host"]
            variables |= {"HTTP_PORT": str(port), "BIND_ADDRESS": "127.0.0.1"}
            variables.setdefault("CONTROL_PORT", str(harness.free_port()))
        settings = [f"--env={name}={value}" for name, value in variables.items()]
        super().__init__(
            [*network, *settings, image],
            {"/data/homeserver.d": files} if files else {},
            port=port,
            own_address=beside,
        )
        self._listeners = addresses(docker("run", "--rm", *settings, image, "check", "--json"))

    def _wait(self, root: str) -> None:
        wait_ready(self._listeners, root, f"{self._host}:{self._port}")


class Peer(InDocker):
    """A container with Synapse's own image, as Complement runs it, asked at its own address."""

    secret = PEER_SECRET

    def __init__(self, variant: Variant, image: str) -> None:
        roles = peer_roles(variant.variables["WORKERS"])
        variables = {"SERVER_NAME": "localhost", "SYNAPSE_COMPLEMENT_DATABASE": "postgres"}
        if roles:
            variables |= {"SYNAPSE_COMPLEMENT_USE_WORKERS": "true"}
            variables |= {"SYNAPSE_WORKER_TYPES": ", ".join(roles)}
        settings = [f"--env={name}={value}" for name, value in variables.items()]
        super().__init__([*settings, image], {"/complement/ca": _authority()}, own_address=True)
        self._ports = peer_ports(roles)

    def _wait(self, root: str) -> None:
        listeners = [f"{self._host}:{port}" for port in self._ports]
        wait_ready(listeners, root, f"{self._host}:{self._port}", VERSIONS)

    def stop(self) -> None:
        assert self._container is not None
        docker("stop", "--time", str(PEER_STOPS_WITHIN), self._container.id)


def _authority() -> dict[str, str]:
    """The files of an authority that signs the certificate of Synapse's own image."""
    with tempfile.TemporaryDirectory() as directory:
        made = Authority.make(Path(directory)).as_complement(Path(directory))
        return {name: (made / name).read_text(encoding="utf-8") for name in ("ca.crt", "ca.key")}


def add_arguments(parser: argparse.ArgumentParser, *, peer: bool = True) -> None:
    """Add the options for where servers run. Without `peer`, only Ganglion's image."""
    parser.set_defaults(peer=None)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--native", action="store_true", help="programs of this machine: no Docker")
    if peer:
        where.add_argument(
            "--peer",
            metavar="IMAGE",
            help="compare with the first layout's roles in this image too: Synapse's own, which "
            "its project builds of workers for Complement",
        )
    parser.add_argument(
        "--image", default="ganglion", help="the image, which scripts/build makes (ganglion)"
    )


def images(options: argparse.Namespace) -> list[str]:
    """Return the measured images, Ganglion's first; none for native servers."""
    return [] if options.native else [str(each) for each in (options.image, options.peer) if each]


def note(options: argparse.Namespace) -> str:
    """A note about Synapse's own image, if it is measured too."""
    return NOTE.format(peer=options.peer) if options.peer else ""


@contextlib.contextmanager
def server(
    variant: Variant, options: argparse.Namespace, *, quick: bool = False
) -> Iterator[Server]:
    """Make a server that does not run yet, and remove it afterwards with its data."""
    try:
        with _made(variant, options, quick=quick) as made:
            yield made
    except subprocess.CalledProcessError as error:
        error.add_note(f"{error.stdout}{error.stderr}")
        raise


def _made(variant: Variant, options: argparse.Namespace, *, quick: bool) -> Native | InDocker:
    if variant.peer:
        return Peer(variant, variant.peer)
    if options.native:
        return Native(variant)
    return Ours(variant, str(options.image), quick=quick, beside=bool(options.peer))
