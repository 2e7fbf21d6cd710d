"""Clients without an account take no place of others, and no memory, and choose nothing."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.certificates import Authority
from tests.edge import Edge, asked, running, with_tls
from tests.harness import WITHIN, wait_until

SYNC = "/_matrix/client/v3/sync"
UPLOAD = "/_matrix/media/v3/upload"


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    with running("synchrotron:2, initial_synchrotron, client_reader") as found:
        yield found


@pytest.mark.parametrize(
    ("method", "path", "length", "status"),
    [
        ("POST", "/_matrix/client/v3/login", 65536, 200),
        ("POST", "/_matrix/client/v3/login", 65537, 413),
        ("PUT", "/_matrix/client/v3/user/a/account_data/x", 13107200, 200),
        ("PUT", "/_matrix/client/v3/user/a/account_data/x", 13107201, 413),
        ("POST", UPLOAD, 13107201, 200),
        ("POST", UPLOAD, 50 * 1024**2 + 1, 413),
        # nginx takes these for an upload, Synapse does not.
        ("POST", f"/_matrix/client/v3/login/%2e%2e/%2e%2e/%2e%2e/%2e%2e{UPLOAD}", 20_000_000, 404),
        ("POST", f"/_matrix/x/y%2f..%2f..%2f..{UPLOAD}", 20_000_000, 404),
        # As Synapse rejects the method.
        ("PATCH", UPLOAD, 2, 405),
        ("PATCH", UPLOAD, 20_000_000, 405),
        ("PATCH", f"{UPLOAD}/a/b/c", 2, 404),
        ("GET", SYNC, 2, 200),
        ("GET", SYNC, 10, 400),
        ("GET", SYNC, 1000, 400),
        # Old clients send a body with every request.
        ("GET", "/_matrix/client/v3/directory/room/x", 999, 200),
        ("GET", "/_matrix/client/v3/directory/room/x", 1000, 400),
    ],
)
def test_a_body_is_as_long_as_its_route_takes(
    edge: Edge, method: str, path: str, length: int, status: int
) -> None:
    if status == 200:
        answer = edge.ask(method, path, body=bytes(length))
    else:
        # nginx does not wait for the body.
        answer = edge.ask(method, path, {"Content-Length": str(length)})
    assert answer.status == status
    if status != 200:
        assert json.loads(answer.body)["errcode"].startswith("M_")


@contextlib.contextmanager
def begun(edge: Edge, count: int, head: str) -> Iterator[list[socket.socket]]:
    """Connections whose request has begun and does not end."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", edge.port)))
            client.settimeout(WITHIN)
            client.sendall(head.encode())
            clients.append(client)
        yield clients


def test_slow_requests_take_no_place_of_other_clients() -> None:
    """Each first sync of one address is rejected at its own limit, never at that of all."""
    variables = {"GANGLION_INITIAL_SYNCS": "8", "TRUSTED_PROXIES": "127.0.0.1"}
    with running("initial_synchrotron, synchrotron", variables) as edge:
        head = f"GET {SYNC} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n"
        with begun(edge, 8, f"{head}Content-Length: 9\r\n\r\n{{"):
            for number in range(8):
                headers = {"X-Forwarded-For": f"198.51.100.{number}"}
                assert edge.ask("GET", SYNC, headers).status == 200
        # Not refused for its body: the same, with the body longer than any such request has.
        with begun(edge, 8, f"{head}Content-Length: 1000\r\n\r\n{{") as clients:
            for client in clients:
                assert b" 400 " in client.recv(65536)


def test_one_address_does_not_take_every_initial_sync() -> None:
    variables = {"GANGLION_INITIAL_SYNCS": "8", "TRUSTED_PROXIES": "127.0.0.1"}
    with (
        running("initial_synchrotron, synchrotron", variables) as edge,
        ThreadPoolExecutor(8) as do,
    ):
        worker = edge.processes["initial_synchrotron1"]
        worker.free.clear()

        def sync(user: str, address: str) -> int:
            headers = {"Authorization": f"Bearer syt_{user}_x", "X-Forwarded-For": address}
            return edge.ask("GET", SYNC, headers).status

        held = [do.submit(sync, f"user{number}", "192.0.2.1") for number in range(6)]
        wait_until("six syncs", lambda: len(worker.asked) == 6)
        assert sync("user6", "192.0.2.1") == 429
        held += [do.submit(sync, "bob", "192.0.2.2")]
        wait_until("a seventh sync", lambda: len(worker.asked) == 7)
        worker.free.set()
        assert {answer.result() for answer in held} == {200}


def test_the_bodies_of_one_address_are_bounded() -> None:
    with running("none", {"GANGLION_MEMORY": "1G"}) as edge:
        head = f"POST {UPLOAD} HTTP/1.1\r\nHost: a\r\nContent-Length: 49000000\r\n\r\nx"
        with begun(edge, 18, head) as clients:
            refused = 0
            for client in clients:
                client.settimeout(2.0)
                with contextlib.suppress(TimeoutError):
                    refused += b" 429 " in client.recv(65536)
            assert refused == 16
            # Small requests of the same address pass.
            assert edge.ask("POST", "/_matrix/client/v3/login", body=b"{}").status == 200


ADMIN = "/_synapse/admin/v1/server_version"


@pytest.mark.parametrize(
    ("proxies", "headers", "status"),
    [
        ("", {}, 200),
        # A proxy that is not trusted: its clients are unknown.
        ("", {"X-Forwarded-For": "203.0.113.7"}, 403),
        ("", {"Forwarded": "for=203.0.113.7"}, 403),
        ("127.0.0.1", {}, 200),
        ("127.0.0.1", {"X-Forwarded-For": "192.168.1.2"}, 200),
        ("127.0.0.1", {"X-Forwarded-For": "garbage, 192.168.1.2"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.7"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "garbage"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "|garbage"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "unknown"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "192.168.1.2, 999.1.1.1"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 200),
        ("127.0.0.1", {"Forwarded": "for=192.168.1.2"}, 403),
    ],
)
def test_an_unreadable_address_is_no_administrators(
    proxies: str, headers: dict[str, str], status: int
) -> None:
    variables = {"GANGLION_ADMIN_NETWORKS": "private", "TRUSTED_PROXIES": proxies}
    with running("none", {name: value for name, value in variables.items() if value}) as edge:
        assert edge.ask("GET", ADMIN, headers).status == status


@pytest.mark.parametrize("size", [15_500, 17_000, 24_000, 31_000])
@pytest.mark.parametrize(("where", "status"), [("header", 431), ("path", 414)])
def test_what_synapse_finds_too_long_is_never_passed_on(
    edge: Edge, size: int, where: str, status: int
) -> None:
    asked(edge)
    path = f"{SYNC}?since=1&filter={'a' * size if where == 'path' else ''}"
    headers = {"Authorization": "Bearer " + "a" * size} if where == "header" else {}
    answer = edge.ask("GET", path, headers)
    assert answer.status == status
    assert json.loads(answer.body)["errcode"] == "M_UNKNOWN"
    assert asked(edge) == []


def test_many_headers_together_are_never_too_long_for_synapse(edge: Edge) -> None:
    asked(edge)
    headers = {f"X-Header-{number}": "a" * 1000 for number in range(16)}
    assert edge.ask("GET", f"{SYNC}?since=1", headers).status == 431
    assert asked(edge) == []
    headers = {f"X-Header-{number}": "a" * 1000 for number in range(12)}
    assert edge.ask("GET", f"{SYNC}?since=1", headers).status == 200


def test_tls_has_forward_secrecy_http2_and_hsts(authority: Authority) -> None:
    with with_tls(authority) as (edge, port):
        context = ssl.create_default_context(cafile=str(authority.path))
        context.check_hostname = False
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as client:
            assert client.selected_alpn_protocol() == "h2"
        # TLS 1.2 with a suite that lacks forward secrecy.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES256-GCM-SHA384:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        modern = ssl.create_default_context(cafile=str(authority.path))
        modern.check_hostname = False
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=modern)
        for path, status in (("/health", 200), ("/_synapse/metrics", 404)):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == status
            assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
        connection.close()
        assert "strict-transport-security" not in edge.ask("GET", "/health").headers
