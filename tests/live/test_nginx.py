"""nginx passes on the requests that it should, unchanged, and rejects the others."""

import asyncio
import http.client
import secrets
import ssl
import subprocess
import time
from typing import Any

import pytest

from tests.certificates import Authority
from tests.harness import WITHIN, Server, wait_until
from tests.live.conftest import UPLOAD_LIMIT
from tests.matrix import CLIENT, Clients
from tests.oracle.samples import load
from tests.raw_http import Answer, raw_request, unix_request

# An address reserved for documentation.
SPOOFED = "203.0.113.7"
# nginx's own limit where uploads are smaller than Synapse's largest request: 200 PDUs.
LARGEST_REQUEST = 200 * 65536
# Longer than common wrong limits of proxies for a first byte or an idle connection.
LONG_POLL = 12.0
POLLS = 5

REPLICATION = "/_synapse/replication/send_events/1"
REPLICATION_SPELLINGS = (
    REPLICATION,
    "/_synapse/replication",
    "/_synapse/replication/",
    "/_synapse//replication/send_events/1",
    "//_synapse/replication/send_events/1",
    "/_synapse/./replication/send_events/1",
    "/_synapse/client/../replication/send_events/1",
    "/_matrix/client/../../_synapse/replication/send_events/1",
    "/_synapse/%72eplication/send_events/1",
    "/%5fsynapse/replication/send_events/1",
    "/%5F%73%79napse/%72%65plication/send_events/1",
    "/_synapse%2freplication/send_events/1",
    "/_synapse/client/%2e%2e/replication/send_events/1",
    "/_synapse/%252e/replication/send_events/1",
    "/_SYNAPSE/Replication/send_events/1",
    "/_synapse/replication;x=1/send_events/1",
    "/_matrix/client/v3/sync/../../../../_synapse/replication/send_events/1",
    "/_matrix/client/v3/rooms/%2e%2e/%2e%2e/_synapse/replication/send_events/1",
)


# Paths for a login by QR code, which Synapse registers in some configurations only.
RENDEZVOUS = (
    "/_matrix/client/unstable/org.matrix.msc4108/rendezvous",
    "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/x",
    "/_matrix/client/unstable/io.element.msc4388/rendezvous",
    "/_matrix/client/unstable/io.element.msc4388/rendezvous/x",
    "/_synapse/client/rendezvous",
    "/_synapse/client/rendezvous/01HEX",
    "/_synapse/client/rendezvous?x=1",
)


def preflight(answer: Answer) -> dict[str, str]:
    """Return the status and the headers by which a browser judges a preflight response."""
    found = {name.lower(): value for name, value in answer.headers.items()}
    cors = {name: value for name, value in found.items() if name.startswith("access-control-")}
    # Synapse leaves it to the browser how long it trusts the response.
    cors.pop("access-control-max-age", None)
    return {"status": str(answer.status), **cors}


def test_preflight_requests_get_the_response_of_synapse(small: Server) -> None:
    paths = {path for row in load() for _, path in row.requests} | set(RENDEZVOUS)
    main = small.run / "sockets" / "main.sock"
    different = {}
    for path in sorted(paths):
        ours = preflight(raw_request(small.http_port, "OPTIONS", path))
        synapses = preflight(unix_request(main, "OPTIONS", path))
        if ours != synapses:
            different[path] = (ours, synapses)
    assert different == {}
    assert len(paths) > 500


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_methods_that_a_path_lacks_get_the_response_of_synapse(small: Server, method: str) -> None:
    paths = {
        path
        for row in load()
        for _, path in row.requests
        if method not in {registered for registered, _ in row.requests}
        and not path.startswith(("/_synapse/admin", "/_synapse/replication"))
    }
    main = small.run / "sockets" / "main.sock"
    different = {}
    for path in sorted(paths):
        ours = raw_request(small.http_port, method, path)
        synapses = unix_request(main, method, path)
        if (ours.status, ours.body) != (synapses.status, synapses.body):
            different[path] = (ours, synapses)
    assert different == {}
    assert len(paths) > 300


def test_processes_reach_the_replication_listener(small: Server) -> None:
    # Otherwise the rejections below might be due to a misspelt path.
    mark = small.log.mark()
    path = small.run / "sockets" / "main.replication.sock"
    assert unix_request(path, "POST", REPLICATION, body=b"{}").status == 500
    # It needs the secret.
    small.log.wait_for("Missing Authorization header", mark)


@pytest.mark.parametrize("path", REPLICATION_SPELLINGS)
def test_replication_is_closed_to_clients(small: Server, path: str) -> None:
    mark = small.log.settle()
    for method in ("GET", "POST"):
        answer = raw_request(small.http_port, method, path)
        assert answer.status in (400, 404), answer.body
    small.log.settle()
    reached = small.log.requests(mark)
    assert all(r.status in (400, 404) for r in reached), reached


def test_client_cannot_choose_its_address(small: Server) -> None:
    spoof = {"X-Forwarded-For": SPOOFED, "X-Real-IP": SPOOFED, "Forwarded": f"for={SPOOFED}"}
    assert address_seen(small, spoof) == "127.0.0.1"


def address_seen(server: Server, headers: dict[str, str]) -> str:
    """The client's address that Synapse's log has for a request with these headers."""
    token = secrets.token_hex(8)
    mark = server.log.mark()
    assert server.get(f"/_matrix/client/versions?{token}", headers).status == 200

    def seen() -> str:
        return next((r.ip for r in server.log.requests(mark) if token in r.uri), "")

    return wait_until("request in the log", seen)


def test_synapse_knows_https_from_http(small: Server, authority: Authority) -> None:
    """Synapse redirects a client that starts single sign-on at another URL to its public one.

    A client that came by https would be redirected in a circle if Synapse took it for http.
    """
    path = f"{CLIENT}/login/sso/redirect?redirectUrl=https://app.invalid/"
    secure = tls_request(small, authority, path)
    assert secure.status == 302
    assert secure.headers["Location"].startswith("https://cas.invalid/")

    host = {"Host": f"127.0.0.1:{small.federation_port}"}
    plain = small.get(path, host)
    assert plain.status == 302
    assert plain.headers["Location"].startswith(f"{small.tls_url}/_matrix/")
    # nginx sets the scheme, not the client.
    spoofed = small.get(path, {**host, "X-Forwarded-Proto": "https"})
    assert spoofed.headers["Location"] == plain.headers["Location"]


def tls_request(server: Server, authority: Authority, path: str) -> Answer:
    context = ssl.create_default_context(cafile=str(authority.path))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", server.federation_port, timeout=WITHIN, context=context
    )
    connection.request("GET", path)
    response = connection.getresponse()
    answer = Answer(
        status=response.status, headers=dict(response.getheaders()), body=response.read()
    )
    connection.close()
    return answer


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_client_with_six_requests_at_a_time_needs_one_connection_over_http_2(
    small: Server, authority: Authority, version: str
) -> None:
    """A phone that wakes up shakes hands once."""
    urls = [f"{small.tls_url}/_matrix/client/versions?{number}" for number in range(20)]
    done = subprocess.run(
        [
            *("curl", "--silent", f"--http{version}", "--cacert", str(authority.path)),
            *("--parallel", "--parallel-max", "6"),
            *("--write-out", "%{http_version} %{num_connects} %{http_code}\n"),
            *(word for url in urls for word in (url, "--output", "/dev/null")),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {(line[0], line[2]) for line in lines} == {(version, "200")}
    assert len(lines) == 20
    # Six over HTTP/1.1, unless one is free again before the last is opened.
    assert (sum(int(line[1]) for line in lines) == 1) == (version == "2")


@pytest.fixture(scope="module")
def token(small: Server) -> str:
    async def fresh() -> str:
        async with Clients(small.base_url) as clients:
            return str((await clients.register("uploads")).nio.access_token)

    return asyncio.run(fresh())


@pytest.mark.parametrize(
    ("size", "status"),
    [
        pytest.param(UPLOAD_LIMIT, 200, id="largest"),
        pytest.param(UPLOAD_LIMIT + 1, 413, id="refused by Synapse"),
        pytest.param(LARGEST_REQUEST + 1, 413, id="refused by nginx"),
    ],
)
def test_uploads_up_to_the_limit(small: Server, token: str, size: int, status: int) -> None:
    answer = upload(small, token, bytes(size))
    assert answer.status == status, answer.body
    body: dict[str, Any] = answer.json()
    assert body.get("errcode") == (None if status == 200 else "M_TOO_LARGE")
    # Without it, browsers hide the error from a web client.
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def upload(server: Server, token: str, body: bytes) -> Answer:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
    return raw_request(server.http_port, "POST", "/_matrix/media/v3/upload", headers, body)


def test_long_poll_lasts_as_long_as_asked(small: Server) -> None:
    asyncio.run(poll_in_vain(small))


async def poll_in_vain(server: Server) -> None:
    async with Clients(server.base_url) as clients:
        session = await clients.register("patient")
        # The first ones bring data of the new account: push rules and presence.
        for _ in range(3):
            await session.sync(wait=0.5)
        # Something may still come in; a proxy with a shorter limit cuts every poll.
        for _ in range(POLLS):
            began = time.monotonic()
            await session.sync(wait=LONG_POLL)
            if time.monotonic() - began > LONG_POLL - 1:
                return
    raise AssertionError(f"none of {POLLS} polls lasted {LONG_POLL} s")
