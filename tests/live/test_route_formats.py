"""The table of routes, followed by real nginx, Caddy and HAProxy: each request of the oracle."""

import contextlib
import http.client
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ganglion.routing.explain import explain
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.routing.proxy_formats import FORMATS
from ganglion.routing.table import table
from ganglion.settings import environment
from ganglion.topology import topology
from ganglion.topology.topology import Topology
from tests.edge import StandIn
from tests.harness import WITHIN, free_port, wait_until
from tests.oracle.samples import load

LAYOUT = "full, synchrotron:3, event_creator:2, room_reader:2, federation_inbound:2, receipts:2"
SYNC = "/_matrix/client/v3/sync"
# Requests whose query decides.
EXTRA = (
    ("GET", SYNC),
    ("GET", f"{SYNC}?since="),
    ("GET", f"{SYNC}?since=s1"),
    ("GET", f"{SYNC}?filter=1&since=s1&timeout=0"),
    ("GET", f"{SYNC}?since=s1&full_state=true"),
    ("GET", f"{SYNC}?since=s1&full_state=false"),
    ("HEAD", f"{SYNC}?since=s1"),
    ("GET", "/_matrix/client/v3/events"),
    ("GET", "/_matrix/client/v3/rooms/!a:b/messages?dir=b"),
    ("GET", "/"),
    ("POST", "/unknown?x=/_matrix/client/v3/sync"),
)


@dataclass(slots=True)
class Proxy:
    """A running proxy with stand-ins for all processes."""

    name: str
    port: int
    layout: Topology
    processes: dict[str, StandIn] = field(default_factory=dict)

    def ask(self, method: str, uri: str, user: str = "one") -> str:
        """Return the name of the process that answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WITHIN)
        with contextlib.closing(connection):
            connection.request(method, uri, headers={"Authorization": f"Bearer {user}"})
            response = connection.getresponse()
            body = response.read().decode()
            assert response.status == 200, f"{method} {uri}: {response.status} {body}"
            if method != "HEAD":
                return body
        (found,) = (
            name
            for name, item in self.processes.items()
            if item.asked and item.asked[-1].startswith(f"{method} {uri} ")
        )
        return found


def configuration(name: str, text: str, port: int, place: Path) -> list[str]:
    """Write what the operator adds. Returns the command."""
    path = place / "conf"
    if name == "nginx":
        temporary = "".join(
            f"{kind}_temp_path {place}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path.write_text(
            f"daemon off;\npid {place}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n"
            f"access_log off;\nmap_hash_bucket_size 256;\n{temporary}{text}\nserver {{\n"
            f"listen 127.0.0.1:{port};\nmerge_slashes off;\n"
            "location / { proxy_pass http://$ganglion_target; }\n}\n}\n"
        )
        return ["/usr/sbin/nginx", "-e", "stderr", "-c", str(path)]
    if name == "caddy":
        path.write_text(
            f"{{\n\tadmin off\n\tauto_https off\n}}\nhttp://127.0.0.1:{port} {{\n{text}\n}}\n"
        )
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)]
    path.write_text(
        "defaults\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n"
        + text.replace("# bind :8008", f"bind 127.0.0.1:{port}")
        + "\n"
    )
    return ["/usr/sbin/haproxy", "-db", "-f", str(path)]


@pytest.fixture(scope="module", params=["nginx", "caddy", "haproxy"])
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    name = request.param
    place, port = Path(tempfile.mkdtemp(prefix="g", dir="/tmp")), free_port()
    place.chmod(0o755)
    settings = environment.from_environ({"WORKERS": LAYOUT, "GANGLION_RUN": str(place)}, str)
    layout = topology.build(settings)
    (place / "sockets").mkdir()
    found = Proxy(name, port, layout)
    for process in layout.processes:
        found.processes[process.name] = StandIn(process.name, str(process.http.path))
        found.processes[process.name].start()
    command = configuration(name, FORMATS[name](table(layout), layout), port, place)
    home = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": str(place)}
    with subprocess.Popen(command, env=home) as server:
        try:
            wait_until(f"answer of {name}", lambda: listens(found, server))
            yield found
        finally:
            server.terminate()
            server.wait(WITHIN)
            for item in found.processes.values():
                item.stop()
            shutil.rmtree(place)


def listens(proxy: Proxy, server: "subprocess.Popen[bytes]") -> bool:
    assert server.poll() is None, f"{proxy.name} refused the configuration"
    with contextlib.suppress(OSError, http.client.HTTPException):
        return proxy.ask("GET", "/") == "main"
    return False


def test_every_request_of_the_oracle_reaches_its_pool(proxy: Proxy) -> None:
    requests = [request for row in load() for request in row.requests]
    assert len(requests) > 1000
    wrong = []
    for method, uri in (*requests, *EXTRA):
        expected = explain(method, uri, {}, "127.0.0.1", proxy.layout, OperatorRoutes())
        answer = proxy.ask(method, uri)
        if answer not in expected.workers:
            wrong.append(f"{method} {uri}: {answer} instead of {expected.workers}")
    assert wrong == []


def test_a_user_and_a_room_stay_at_one_worker(proxy: Proxy) -> None:
    users = {
        number: {proxy.ask("GET", f"{SYNC}?since=s{since}", f"user{number}") for since in range(3)}
        for number in range(30)
    }
    assert {len(found) for found in users.values()} == {1}
    assert len(set().union(*users.values())) == 3
    rooms = {
        number: {
            proxy.ask("GET", f"/_matrix/client/v3/rooms/!r{number}:b/messages?from={since}")
            for since in range(3)
        }
        for number in range(30)
    }
    assert {len(found) for found in rooms.values()} == {1}
    assert len(set().union(*rooms.values())) == 2
