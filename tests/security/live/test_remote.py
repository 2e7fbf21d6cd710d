"""nginx protects Synapse's processes from closed paths, long bodies, foreign headers."""

import contextlib
import http.client
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.certificates import Authority
from tests.edge import Edge, running
from tests.harness import WITHIN, free_port, wait_until

SYNC = "/_matrix/client/v3/sync"
UPLOAD = "/_matrix/media/v3/upload"
# The first two parts of paths that only other processes, or the networks of administrators, reach.
CLOSED = (
    "/_synapse/admin/v1/server_version",
    "/_synapse/admin/v2/users/@a:localhost",
    "/_synapse/replication/send_events/1",
    "/_synapse/metrics",
)
# How Synapse decides: Twisted finds a resource by decoded parts, and JsonResource matches its
# patterns on the raw path. So these are the paths that a closed servlet can answer.
REACHES = re.compile(r"/_synapse/(admin|replication|metrics)(/|$)")


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    with running("synchrotron:2, initial_synchrotron, client_reader") as found:
        yield found


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


def spellings(path: str) -> Iterator[str]:
    """Ways to write a path that some reader somewhere takes for the path itself."""
    first, second, *rest = path.strip("/").split("/")
    tail = "".join(f"/{part}" for part in rest)
    for one in (first, f"%5F{first[1:]}", "%5fsynapse", first.upper(), "_s%79napse"):
        for two in (second, f"%{ord(second[0]):02x}{second[1:]}", second.title(), f"{second};x=1"):
            yield f"/{one}/{two}{tail}"
    for middle in ("//", "/./", "/x/../", "/%2e/", "/x/%2E%2e/", "%2f", "/%2f", "\\", "%5c", "/;/"):
        yield f"/{first}{middle}{second}{tail}"
    for before in (
        "/", "/.", "/x/..", "/%2e", "/x/%2e%2e", "/x/.%2e", "/_matrix/client/../..", "/%2f",
        "/_matrix/client/v3/rooms/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e", "/..;", "/;", "/%00",
        "/x%2f..", "/_matrix/client%2f..%2f..", "\\", "/%ff", "/%u002e",
    ):  # fmt: skip
        yield f"{before}{path}"
    for after in ("/", "?", "?x", "#", "#/x", "%00", "%20", "/.", "/..", "//", "%3f", ";"):
        yield f"{path}{after}"
    yield f"http://localhost{path}"
    yield f"HTTP://[::1]{path}"


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0", ""])
def test_no_spelling_of_a_closed_path_reaches_a_servlet(
    edge: Edge, path: str, version: str
) -> None:
    asked(edge)
    found = list(dict.fromkeys(spellings(path)))
    assert len(found) >= 50
    for spelling in found:
        for method in ("GET", "PUT") if version else ("GET",):
            line = f"{method} {spelling}{' ' if version else ''}{version}"
            sent(edge.port, f"{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        reached = [line.split(" ")[1].partition("?")[0] for line in asked(edge)]
        assert not [raw for raw in reached if closed_to_synapse(raw)], spelling


def closed_to_synapse(raw: str) -> bool:
    """Whether a raw path reaches a closed servlet, however loosely it is read."""
    first_two = "/".join(raw.split("/")[:3])
    return REACHES.match(raw) is not None or "%" in first_two or "\\" in raw


PIECES = st.sampled_from(
    [
        "/", "//", "_synapse", "_Synapse", "%5fsynapse", "admin", "Admin", "%61dmin", "replication",
        "metrics", "v1", ".", "..", "%2e", "%2E%2e", "%2f", "%2F", "%5c", "\\", ";", ";a=b", "@a",
        "?", "#", "%00", "%25", "%252f", "%", "_matrix", "client", "health", "\x7f", "é",
    ]
)  # fmt: skip


@given(st.lists(PIECES, min_size=1, max_size=9).map("".join), st.sampled_from(["1.0", "1.1"]))
@example("_synapse/admin/v2/users/@a%2f..%2f..%2f..%2f..%2f..%2fx:localhost", "1.1")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_paths_of_any_pieces_reach_no_closed_servlet(edge: Edge, path: str, version: str) -> None:
    asked(edge)
    request = f"PUT /{path} HTTP/{version}\r\nHost: a\r\nContent-Length: 0\r\n"
    sent(edge.port, f"{request}Connection: close\r\n\r\n".encode())
    for line in asked(edge):
        raw = line.split(" ")[1].partition("?")[0]
        assert not closed_to_synapse(raw), line
        # Passed on as it came.
        assert line.split(" ")[1] == f"/{path}"


def test_an_encoded_slash_in_an_identifier_is_no_end_of_the_path(edge: Edge) -> None:
    asked(edge)
    path = "/_matrix/client/v3/profile/@a%2f..%2f..%2fb:localhost"
    assert edge.ask("GET", path).status == 200
    assert asked(edge) == [f"GET {path} HTTP/1.1"]


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: +5\r\n\r\n",
        b"Content-Length: 0x5\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5;\nx\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 50\r\n\r\n",
    ],
)
def test_no_second_request_hides_in_a_body(edge: Edge, smuggled: bytes) -> None:
    asked(edge)
    hidden = b"PUT /_synapse/admin/hidden HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    head = b"POST /_matrix/client/v3/x HTTP/1.1\r\nHost: a\r\n"
    sent(edge.port, head + smuggled + hidden, ends=True)
    assert not [line for line in asked(edge) if "hidden" in line]


def test_headers_that_servers_obey_have_no_effect(edge: Edge) -> None:
    path = f"{SYNC}?since=1"
    plain = edge.ask("GET", path)
    for name in (
        "X-Ganglion-Worker", "X-Ganglion-Target", "X-Ganglion-Route", "X-Accel-Redirect",
        "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Host", "X-HTTP-Method-Override",
    ):  # fmt: skip
        asked(edge)
        answer = edge.ask("GET", path, {name: "/_synapse/admin/v1/server_version"})
        assert (answer.status, answer.body) == (200, plain.body), name
        assert asked(edge) == [f"GET {path} HTTP/1.1"]


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
    with running("initial_synchrotron, synchrotron", variables) as edge, ThreadPoolExecutor() as do:
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


def test_x_forwarded_for_is_ignored_without_trusted_proxies(edge: Edge) -> None:
    answer = edge.ask("GET", f"{SYNC}?since=1", {"X-Forwarded-For": "203.0.113.7"})
    assert answer.headers["x-ganglion-key"] == "127.0.0.1"


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


@pytest.mark.parametrize("path", CLOSED)
def test_http2_reaches_no_closed_servlet_either(authority: Authority, path: str) -> None:
    with with_tls(authority) as (edge, port):
        asked(edge)
        url = f"https://localhost:{port}"
        found = [spelling for spelling in spellings(path) if spelling.startswith("/")]
        config = "".join(f'url = "{url}{one}"\noutput = /dev/null\n' for one in curl_words(found))
        subprocess.run(
            ["curl", "--http2", "--silent", "--path-as-is", "--globoff", "--cacert",
             str(authority.path), "--config", "-"],
            input=config.encode(), check=False, timeout=WITHIN,
        )  # fmt: skip
        assert edge.ask("GET", "/health").status == 200
        reached = [line.split(" ")[1].partition("?")[0] for line in asked(edge)]
        assert not [raw for raw in reached if closed_to_synapse(raw)]


def curl_words(found: list[str]) -> list[str]:
    return [spelling.replace("\\", "\\\\") for spelling in found if "#" not in spelling]
