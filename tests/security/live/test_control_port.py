"""Nobody else reaches the control port: no other machine, and no page in a browser."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.edge import Edge, running
from tests.harness import free_port
from tests.raw_http import Answer, raw_request


@dataclass(slots=True)
class Control:
    """The control port of an edge, whose control application is a stand-in."""

    edge: Edge
    port: int

    def ask(self, path: str = "/test/reset", method: str = "POST", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return raw_request(self.port, method, path, named, b"{}" if method == "POST" else None)

    def asked(self) -> list[str]:
        """The requests that reached the control application since the last call."""
        found = list(self.edge.processes["control"].asked)
        self.edge.processes["control"].asked.clear()
        return found


@pytest.fixture(scope="module")
def control() -> Iterator[Control]:
    port = free_port()
    variables = {
        "GANGLION_TEST_MODE": "yes",
        "CONTROL_PORT": str(port),
        "CONTROL_HOSTS": "Tests.example.org, 2001:db8::1",
        "SYNAPSE_ENABLE_METRICS": "yes",
        "BIND_ADDRESS": "127.0.0.1",
    }
    with running("none", variables, control=True) as edge:
        yield Control(edge, port)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:9469", "127.0.0.1:9469", "10.1.2.3", "[::1]:9469", "synapse:8009",
        "my_server-1:9469", "host.docker.internal:9469", "tests.example.org", "TESTS.example.org:1",
    ],
)  # fmt: skip
def test_names_that_no_stranger_can_have(control: Control, host: str) -> None:
    control.asked()
    assert control.ask(Host=host).status == 200
    assert control.asked() == ["POST /test/reset HTTP/1.1"]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:9469", "localhost.evil.example", "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:9469", "synapse.", "a.localdomain", "tests.example.org.evil.example",
        "testsxexample.org", "evil-tests.example.org", "[::1].evil.example", "localhost:9469.evil",
        "[tests.example.org]", "user@localhost", "a b", "", "host.docker.internal.evil.example",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [("POST", "/test/reset"), ("GET", "/metrics/main")])
def test_other_names_are_rejected(control: Control, host: str, method: str, path: str) -> None:
    control.asked()
    answer = control.ask(path, method, Host=host)
    # nginx itself answers 400 to a malformed one.
    assert answer.status in (400, 403)
    if answer.status == 403:
        assert "CONTROL_HOSTS" in answer.json()["error"]
    assert control.asked() == []


def test_an_old_request_without_a_host_is_rejected(control: Control) -> None:
    with socket.create_connection(("127.0.0.1", control.port), timeout=60) as client:
        client.sendall(b"POST /test/reset HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        assert client.recv(65536).split()[1] == b"403"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "https://evil.example", "null", "http://localhost",
        "http://127.0.0.1:1", "http://localhost:9469.evil.example", "http://evil.example/localhost:9469",
        "file://", "localhost:9469", "http://localhost:9469 http://evil.example", " ",
    ],
)  # fmt: skip
def test_pages_of_other_sites_are_rejected(control: Control, origin: str) -> None:
    control.asked()
    answer = control.ask(Host="localhost:9469", Origin=origin)
    if not origin.strip():
        assert answer.status == 200
        return
    assert answer.status == 403
    assert answer.json() == {"error": "pages of other sites may not send requests here"}
    assert control.asked() == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_its_own_pages_are_not(control: Control, scheme: str) -> None:
    assert control.ask(Host="localhost:9469", Origin=f"{scheme}://localhost:9469").status == 200


def test_no_host_gets_into_the_list_of_targets() -> None:
    """Without the control application nginx makes this list."""
    path, port = "/metrics/service_discovery", free_port()
    variables = {"SYNAPSE_ENABLE_METRICS": "yes", "GANGLION_CONTROL": "no"}
    with running("none", {**variables, "CONTROL_PORT": str(port)}) as edge:
        control = Control(edge, port)
        assert control.ask(path, "GET", Host='a","b').status in (400, 403)
        (target,) = json.loads(control.ask(path, "GET", Host="localhost:1").body)
    assert target["targets"] == ["localhost:1"]


def listening(port: int) -> set[str]:
    """The IPv4 addresses at which something listens on a port: /proc/net/tcp."""
    found = set()
    with open("/proc/net/tcp", encoding="ascii") as file:  # noqa: PTH123
        for line in list(file)[1:]:
            local, state = line.split()[1], line.split()[3]
            address, number = local.split(":")
            if int(number, 16) == port and state == "0A":
                found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]))
    return found


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "127.0.0.1"),
        ({"BIND_ADDRESS": "*"}, "127.0.0.1"),
        ({"CONTROL_BIND_ADDRESS": "*"}, "0.0.0.0"),  # noqa: S104
        ({"CONTROL_BIND_ADDRESS": "127.0.0.2"}, "127.0.0.2"),
    ],
)
def test_it_listens_on_loopback_unless_it_is_opened(
    variables: dict[str, str], address: str
) -> None:
    port = free_port()
    common = {"SYNAPSE_ENABLE_METRICS": "yes", "CONTROL_PORT": str(port)}
    with running("none", {**common, **variables}):
        assert listening(port) == {address}
