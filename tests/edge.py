"""nginx with the rendered configuration, in front of stand-ins for Synapse's processes.

For tests of nginx itself: the route of a request, and the behaviour when a process is gone.
A stand-in listens at its process's address, records its requests, and answers with its name.
"""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ganglion.files.write import write_directory
from ganglion.machine.installed import nginx_version
from ganglion.plan import render
from ganglion.programs.program import Plan
from ganglion.programs.registry import ACCOUNTS, TYPICAL, share_out
from ganglion.routing.operator_routes import interpret
from ganglion.settings import environment
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.secrets import placeholders
from ganglion.topology import topology
from tests.certificates import Authority
from tests.harness import WITHIN, free_port, wait_until


@dataclass(slots=True)
class StandIn:
    """A stand-in for a Synapse process. With `breaks`, it closes each connection after a request.

    It answers while `free` is set, and otherwise waits until it is set.
    """

    name: str
    path: str
    breaks: bool = False
    free: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    _listener: socket.socket | None = None
    _connections: list[socket.socket] = field(default_factory=list)

    def start(self) -> None:
        """Listen, and answer in threads."""
        self.free.set()
        Path(self.path).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        Path(self.path).chmod(0o666)
        self._listener.listen(128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and close the connections that nginx keeps."""
        if self._listener is None:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        for connection in self._connections:
            # It may be gone already; its own thread closes it.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while line := stream.readline():
                length = 0
                while (header := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                stream.read(length)
                self.asked.append(line.decode("latin-1").strip())
                if self.breaks:
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                self.free.wait(WITHIN)
                body = self.name.encode()
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
                )


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(slots=True)
class Edge:
    """A running nginx, the plan it was rendered from, and the stand-ins behind it."""

    plan: Plan
    port: int
    processes: dict[str, StandIn]

    def ask(
        self,
        method: str,
        uri: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send one request without changing the path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WITHIN)
        try:
            connection.request(method, uri, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read().decode("latin-1"))
        finally:
            connection.close()


@contextlib.contextmanager
def running(
    workers: str,
    variables: Mapping[str, str] | None = None,
    routes: object = None,
    *,
    control: bool = False,
) -> Iterator[Edge]:
    """An edge for a text of WORKERS, with other variables and the content of a routes.yaml.

    With `control`, the control application has a stand-in too.
    """
    root = Path(tempfile.mkdtemp(prefix="ganglion-edge-", dir="/tmp"))
    root.chmod(0o755)
    port = free_port()
    values = {
        "WORKERS": workers,
        "GANGLION_RUN": str(root),
        "GANGLION_TRACE_HEADERS": "yes",
        "HTTP_PORT": str(port),
        "CONTROL_PORT": str(free_port()),
        "BIND_ADDRESS": "127.0.0.1",
        **(variables or {}),
    }
    settings = environment.from_environ(values, str)
    layout = topology.build(settings)
    accounts = tuple(ACCOUNTS.items()) if os.geteuid() == 0 else ()
    nginx = shutil.which("nginx", path=f"{os.defpath}:/usr/sbin")
    assert nginx is not None, "nginx is not installed: run scripts/setup --test"
    machine = replace(
        TYPICAL,
        accounts=accounts,
        ipv6=False,
        open_files=1024,
        http2_directive=nginx_version(nginx) >= (1, 25, 1),
    )
    plan = Plan(
        settings=settings,
        topology=layout,
        budget=share_out(settings, layout, machine),
        machine=machine,
        operator=OperatorFiles(),
        routes=interpret(routes, "routes.yaml", layout),
        secrets=placeholders(),
    )
    files = [file for file in render(plan) if file.path in ("nginx.conf", "maps.conf")]
    write_directory(root / "conf", files, {})
    (root / "sockets").mkdir()
    (root / "nginx").mkdir()
    processes = {
        process.name: StandIn(process.name, str(process.http.path)) for process in layout.processes
    }
    if control:
        (root / "control").mkdir()
        processes["control"] = StandIn("control", settings.paths.control_socket)
    for process in processes.values():
        process.start()
    server = subprocess.Popen([nginx, "-e", "stderr", "-c", str(root / "conf" / "nginx.conf")])
    edge = Edge(plan, port, processes)
    try:
        wait_until("answer of nginx", lambda: _listens(edge))
        for process in processes.values():
            process.asked.clear()
        yield edge
    finally:
        server.terminate()
        server.wait(WITHIN)
        for process in processes.values():
            process.stop()
        shutil.rmtree(root)


def _listens(edge: Edge) -> bool:
    try:
        return edge.ask("GET", "/health").status == 200
    except OSError:
        return False


def sent(port: int, data: bytes, *, ends: bool = False) -> bytes:
    """The whole response to some bytes; empty if nginx closes the connection without one.

    `ends` is for a request that nginx would wait for the rest of.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN) as client:
        client.sendall(data)
        if ends:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(65536):
                received += part
        return received


def asked(edge: Edge) -> list[str]:
    """The requests that reached a process since the last call."""
    found = [line for process in edge.processes.values() for line in process.asked]
    for process in edge.processes.values():
        process.asked.clear()
    return found


@contextlib.contextmanager
def with_tls(authority: Authority) -> Iterator[tuple[Edge, int]]:
    port = free_port()
    certificate, key = authority.issue(authority.path.parent)
    variables = {
        "SYNAPSE_TLS_CERT": str(certificate),
        "SYNAPSE_TLS_KEY": str(key),
        "FEDERATION_PORT": str(port),
        "GANGLION_HSTS": "365d",
    }
    with running("none", variables) as edge:
        yield edge, port
