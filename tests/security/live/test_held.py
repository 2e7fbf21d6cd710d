"""Attacks that never worked, and never shall: closed paths, smuggled requests, foreign headers."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.certificates import Authority
from tests.edge import Edge, asked, running, sent, with_tls
from tests.fuzzing import fuzz
from tests.harness import WITHIN

SYNC = "/_matrix/client/v3/sync"
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


@fuzz(300)
@given(st.lists(PIECES, min_size=1, max_size=9).map("".join), st.sampled_from(["1.0", "1.1"]))
@example("_synapse/admin/v2/users/@a%2f..%2f..%2f..%2f..%2f..%2fx:localhost", "1.1")
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
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5, 0\r\n\r\n",
        b"Content-Length: 0\r\nContent-length: 44\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n\r\n",
        b"Content-Length:\r\n 0\r\n\r\n",
        b"Content_Length: 5\r\nContent-Length : 0\r\n\r\n",
        b"Transfer-Encoding: CHUNKED\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
        b"Transfer-Encoding: chunked\r\n\r\n0\n\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0;\r\n\r\n",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n\r\n",
        b"Connection: Content-Length\r\nContent-Length: 44\r\n\r\n",
        b"Expect: 100-continue\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_no_second_request_hides_in_a_body(edge: Edge, smuggled: bytes) -> None:
    asked(edge)
    hidden = b"PUT /_synapse/admin/hidden HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    head = b"POST /_matrix/client/v3/x HTTP/1.1\r\nHost: a\r\n"
    sent(edge.port, head + smuggled + hidden, ends=True)
    assert not [line for line in asked(edge) if "hidden" in line]


def test_each_request_of_a_pipeline_is_judged_by_itself(edge: Edge) -> None:
    asked(edge)
    line = "GET {} HTTP/1.1\r\nHost: a\r\n\r\n"
    open_, closed = "/_matrix/client/versions", CLOSED[0]
    last = line.format(open_).replace("Host", "Connection: close\r\nHost")
    data = (line.format(open_) + line.format(closed)) * 2 + last
    answers = sent(edge.port, data.encode())
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"403", b"200", b"403", b"200"]
    assert asked(edge) == [f"GET {open_} HTTP/1.1"] * 3


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
        # A request of the test before may arrive late.
        found = [line for line in asked(edge) if not line.startswith("POST /_matrix/client/v3/x ")]
        assert found == [f"GET {path} HTTP/1.1"]


def test_x_forwarded_for_is_ignored_without_trusted_proxies(edge: Edge) -> None:
    answer = edge.ask("GET", f"{SYNC}?since=1", {"X-Forwarded-For": "203.0.113.7"})
    assert answer.headers["x-ganglion-key"] == "127.0.0.1"


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
