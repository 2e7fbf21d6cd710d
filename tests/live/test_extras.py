"""Synapse's optional parts and modules of others, on main and on a worker."""

import re
import socket
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.harness import Server, wait_until

# Logs an error in each process, again and again, for Sentry to report.
MODULE = """\
import logging

logger = logging.getLogger(__name__)


class Complains:
    def __init__(self, config, api):
        api.looping_background_call(self.complain, 500, run_on_all_instances=True)

    async def complain(self):
        logger.error("complaint of the module")
"""
FILE = """\
sentry: {{dsn: "http://key@127.0.0.1:{http}/1"}}
opentracing:
  enabled: true
  jaeger_config:
    sampler: {{type: const, param: 1}}
    local_agent: {{reporting_host: 127.0.0.1, reporting_port: {udp}}}
modules:
  - module: complains.Complains
    config: {{}}
  - module: ldap_auth_provider.LdapAuthProviderModule
    config:
      enabled: true
      uri: "ldap://127.0.0.1:1"
      base: "ou=users,dc=example,dc=org"
      attributes: {{uid: cn, mail: mail, name: givenName}}
"""
PROCESSES = ("main", "client_reader1")


@dataclass(frozen=True, slots=True)
class Collector:
    """An HTTP server and a UDP socket on loopback, with all that they received."""

    http: ThreadingHTTPServer
    udp: socket.socket
    bodies: list[bytes] = field(default_factory=list)

    def packets(self) -> bytes:
        """All packets that have arrived since the last call."""
        found = b""
        while True:
            try:
                found += self.udp.recv(65536)
            except BlockingIOError:
                return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = zlib.decompress(body, 31)
            bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_request(self, *_: object) -> None:
            """Be quiet."""

    bodies: list[bytes] = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        yield Collector(http, udp, bodies)
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.mark.parametrize("prefork", ["yes", "no"])
def test_sentry_tracing_ldap_and_a_module_of_the_data_directory(
    prefork: str, collector: Collector
) -> None:
    text = FILE.format(http=collector.http.server_port, udp=collector.udp.getsockname()[1])
    with Server("client_reader", {"GANGLION_PREFORK": prefork}, operator_file=text) as server:
        modules = server.data / "modules"
        modules.mkdir()
        (modules / "complains.py").write_text(MODULE)
        server.start()
        seen = b""
        for name in PROCESSES:
            server.log.wait_for(rf"^{name} \| .*Loaded module .*complains.Complains")
            server.log.wait_for(rf"^{name} \| .*Loaded module .*LdapAuthProviderModule")
        for name in ("master", "client_reader1"):
            tag = f'"worker_name":"{name}"'.encode()

            def reported(tag: bytes = tag) -> bool:
                return any(
                    b"complaint of the module" in body and tag in body.replace(b": ", b":")
                    for body in tuple(collector.bodies)
                )

            wait_until(f"report to Sentry by {name}", reported)

            # The name of the service is the server's and the worker's, without its number.
            def traced(name: str = name.rstrip("1")) -> bool:
                nonlocal seen
                server.get("/_matrix/client/versions")
                server.get("/_matrix/client/v3/login")
                seen += collector.packets()
                return re.search(rf"\b{name}\b".encode(), seen) is not None

            wait_until(f"a span of {name}", traced)
