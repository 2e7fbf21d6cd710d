"""Many servers at once, which find each other: in Docker, or as programs of this machine."""

import argparse
import contextlib
import http.client
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from benchmarks.servers import Peer
from benchmarks.variants import Variant
from tests import harness
from tests.certificates import Authority
from tests.federation import federating, trust
from tests.image.engine import Container, docker

READY_WITHIN = 300.0
# In seconds, between two looks at all that do not answer yet.
BETWEEN_LOOKS = 0.02
# With a worker that may, it answers; and nginx begins only when every process is ready.
PATH = "/_matrix/client/versions"
HOST = "127.0.0.1"


class Member(Protocol):
    """One server of many, that others find at its name."""

    @property
    def base_url(self) -> str:
        """The URL for clients."""

    def launch(self) -> None:
        """Start it, and do not wait."""

    @property
    def supervisor(self) -> int:
        """The number of its first process on this machine."""

    def stop(self) -> None:
        """Stop it. Raises AssertionError where it does not end well."""

    def log(self) -> str:
        """All that it wrote."""


class Program:
    """A program of this machine, with the harness that tests use too."""

    def __init__(self, server: harness.Server) -> None:
        self._server = server
        self.base_url = server.base_url

    def launch(self) -> None:
        self._server.launch()

    @property
    def supervisor(self) -> int:
        assert self._server.process is not None
        return self._server.process.pid

    def stop(self) -> None:
        self._server.stop()

    def log(self) -> str:
        return self._server.log.text()


class Contained:
    """A container with our image, in this machine's network: there all find each other alike."""

    def __init__(self, made: Container, port: int) -> None:
        self._container = made
        self.base_url = f"http://{HOST}:{port}"

    def launch(self) -> None:
        self._container.start()

    @property
    def supervisor(self) -> int:
        return int(self._container.inspect()["State"]["Pid"])

    def stop(self) -> None:
        self._container.stop()

    def log(self) -> str:
        return self._container.log()


class Foreign:
    """A container with Synapse's own image, at its own address. Others do not find it."""

    def __init__(self, server: Peer) -> None:
        self._server = server

    @property
    def base_url(self) -> str:
        return self._server.base_url

    def launch(self) -> None:
        self._server.start()

    @property
    def supervisor(self) -> int:
        return self._server.supervisor

    def stop(self) -> None:
        self._server.stop()

    def log(self) -> str:
        return self._server.log()


@contextlib.contextmanager
def fleet(
    variants: Sequence[Variant],
    options: argparse.Namespace,
    files: Mapping[str, str] | None = None,
) -> Iterator[list[Member]]:
    """One server for each variant, that does not run yet; removed afterwards with its data.

    `files` are further files of options for Synapse, by name, for Ganglion's servers.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority.make(directory)
        yield [_member(variant, authority, options, files or {}, stack) for variant in variants]


def _member(
    variant: Variant,
    authority: Authority,
    options: argparse.Namespace,
    files: Mapping[str, str],
    stack: ExitStack,
) -> Member:
    if variant.peer:
        return Foreign(stack.enter_context(Peer(variant, variant.peer)))
    if options.native:
        return _program(variant, authority, files, stack)
    return _contained(variant, authority, str(options.image), files, stack)


def _program(
    variant: Variant, authority: Authority, files: Mapping[str, str], stack: ExitStack
) -> Member:
    server = stack.enter_context(harness.Server(workers=None, environment=variant.variables))
    for name, text in files.items():
        (server.data / "homeserver.d" / name).write_text(text, encoding="utf-8")
    return Program(federating(server, HOST, authority))


def _contained(
    variant: Variant, authority: Authority, image: str, files: Mapping[str, str], stack: ExitStack
) -> Member:
    http_port, federation, control = (harness.free_port() for _ in range(3))
    variables = {
        "HTTP_PORT": str(http_port),
        "FEDERATION_PORT": str(federation),
        "CONTROL_PORT": str(control),
        "BIND_ADDRESS": HOST,
        "SYNAPSE_ENABLE_REGISTRATION": "yes",
        "SYNAPSE_SERVER_NAME": f"{HOST}:{federation}",
        "SYNAPSE_TLS_CERT": "/data/tls.pem",
        "SYNAPSE_TLS_KEY": "/data/tls.key",
        **variant.variables,
    }
    settings = [f"--env={name}={value}" for name, value in variables.items()]
    # We look ourselves; Docker would start a process in each of them twice a second to do so.
    made = Container(docker("create", "--network=host", "--no-healthcheck", *settings, image))
    stack.callback(docker, "rm", "--force", "--volumes", made.id)
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = authority.issue(Path(directory))
        made.put("/data", {"tls.pem": certificate.read_text(), "tls.key": key.read_text()})
    made.put("/data", {"authority.pem": authority.path.read_text()})
    shared = {"00-tests.yaml": harness.OPERATOR_FILE, "50-trust.yaml": trust("/data/authority.pem")}
    made.put("/data/homeserver.d", {**shared, **files})
    return Contained(made, http_port)


def launch_all(members: Sequence[Member]) -> list[float]:
    """Start all at once; when each first answered, in seconds since, in that order.

    Raises AssertionError with the log of one that does not answer in time.
    """
    began = time.monotonic()
    seen: list[float] = []
    with ThreadPoolExecutor(len(members)) as pool:
        waiting = {member: pool.submit(member.launch) for member in members}
        while waiting:
            for member, launched in list(waiting.items()):
                # result() raises the error of a launch that failed.
                if launched.done() and launched.result() is None and _answers(member):
                    del waiting[member]
                    seen.append(time.monotonic() - began)
            late = time.monotonic() - began > READY_WITHIN
            assert not (late and waiting), f"no answer:\n{next(iter(waiting)).log()[-4000:]}"
            time.sleep(BETWEEN_LOOKS)
    return seen


def _answers(member: Member) -> bool:
    host = urllib.parse.urlsplit(member.base_url).netloc
    with (
        contextlib.suppress(OSError, http.client.HTTPException),
        contextlib.closing(http.client.HTTPConnection(host, timeout=5)) as connection,
    ):
        connection.request("GET", PATH)
        return connection.getresponse().status == 200
    return False


def stop_all(members: Sequence[Member]) -> None:
    """Stop all at once."""
    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(lambda member: member.stop(), members))
