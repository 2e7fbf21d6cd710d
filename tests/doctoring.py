"""Installations for the tests of `ganglion doctor`, with a network and a database of their own."""

import contextlib
import datetime as dt
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.names import dns

from ganglion.doctor.database import Database
from ganglion.doctor.finding import Check, Finding, Level
from ganglion.doctor.network import Network
from ganglion.doctor.place import Place
from ganglion.doctor.runner import examine
from ganglion.doctor.table import CHECKS
from ganglion.machine.limits import Limits
from ganglion.settings.operator_files import OperatorFiles
from tests.plans import plan

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
# In seconds. A limit for what answers at once; it judges no speed.
WITHIN = 60.0
BY_NAME = {check.name: check for check in CHECKS}


# Twisted's classes without types.
RECORDS: Any = dns


class NoDatabase(Database):
    """A database with given rows for queries that contain a text."""

    def __init__(self, rows: Mapping[str, list[tuple[Any, ...]]] | None = None) -> None:
        super().__init__(lambda: None, wait=1, limit=1000, absent="there is none")
        self._rows = rows or {}

    def connection(self) -> None:
        """Answer if there are rows. Raises Unavailable else."""
        if not self._rows:
            super().connection()

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        for part, found in self._rows.items():
            if part in sql:
                return found
        return super().rows(sql, tuple(parameters))


def place(
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    **changed: Any,
) -> Place:
    """Make an installation from variables and the options of the operator's files."""
    operator = OperatorFiles(
        options=dict(options or {}), sources=dict.fromkeys(options or {}, "homeserver.yaml")
    )
    # Without a control port, which another server here may have open.
    variables = {"WORKERS": "none", "GANGLION_CONTROL": "no", **(environ or {})}
    made = plan(variables, operator=operator)
    found = Place(
        settings=made.settings,
        operator=operator,
        plan=made,
        problems=(),
        notes=(),
        running=False,
        now=NOW,
        limits=Limits(memory=4 * 1024**3, memory_from="test", cpus=2, cpus_from="test"),
        database=NoDatabase(),
        network=Network(nameservers=(), timeout=WITHIN),
    )
    return replace(found, **changed)


def findings(name: str, where: Place) -> tuple[Finding, ...]:
    """Return the findings of one check."""
    check: Check = BY_NAME[name]
    (result,) = examine((check,), where, WITHIN)
    return result.findings


def finding(name: str, where: Place) -> Finding:
    """Return the only finding of one check."""
    (found,) = findings(name, where)
    return found


def judged(name: str, facts: Any) -> tuple[Finding, ...]:
    """Return the findings of one check's judgement of some facts."""
    return tuple(BY_NAME[name].judge(facts))


def levels(found: Iterable[Finding]) -> list[str]:
    """Return the levels of findings, as in JSON."""
    return [item.level.value for item in found]


def assert_quiet(found: Iterable[Finding]) -> None:
    """Check that there is one finding, and no fault."""
    (only,) = found
    assert only.level is Level.GOOD, only


class Zone:
    """A name server that knows some names."""

    def __init__(self, records: Mapping[str, Any]) -> None:
        """`records` maps names to addresses, or to (host, port) for SRV."""
        self.records = records

    @contextlib.contextmanager
    def serve(self) -> Iterator[tuple[str, int]]:
        """Answer on a port of 127.0.0.1, and yield its address."""
        with socketserver.UDPServer(("127.0.0.1", 0), _dns_handler(self)) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield "127.0.0.1", server.server_address[1]
            finally:
                server.shutdown()
                thread.join()

    def answers(self, name: str, kind: int) -> list[Any]:
        """Return the records of one name and type."""
        found = []
        for value in self.records.get(name, ()):
            if isinstance(value, tuple):
                payload: Any = RECORDS.Record_SRV(0, 0, value[1], value[0])
            elif ip_address(value).version == 4:
                payload = RECORDS.Record_A(value)
            else:
                payload = RECORDS.Record_AAAA(value)
            if kind == payload.TYPE:
                found.append(dns.RRHeader(name.encode(), payload.TYPE, payload=payload))
        return found


def _dns_handler(zone: Zone) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, asking = self.request
            message = dns.Message()
            message.fromStr(data)
            (query,) = message.queries
            name = query.name.name.decode()
            message.answer = 1
            message.answers = zone.answers(name, query.type)
            message.rCode = 0 if name in zone.records else 3
            asking.sendto(message.toStr(), self.client_address)

    return Handler


# A response: status, headers, body.
Reply = tuple[int, Mapping[str, str], bytes]
Answers = Callable[[str, str, bytes], Reply]


@contextlib.contextmanager
def http_server(answers: Answers, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answer requests (method, path, body), over TLS with a context. Yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = answers(self.command, self.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_OPTIONS = reply  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing of requests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def redirected(ports: Mapping[tuple[str, int], int]) -> Callable[..., socket.socket]:
    """Return a way to connect that leads each (address, port) to a port of 127.0.0.1."""

    def connect(host: str, port: int, timeout: float) -> socket.socket:
        if (host, port) not in ports:
            raise ConnectionRefusedError(111, "Connection refused")
        return socket.create_connection(("127.0.0.1", ports[host, port]), timeout)

    return connect


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    """Write a file, with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path
