"""The snippets of docs/reverse-proxy, each loaded by its program in front of a homeserver.

Caddy and nginx come with scripts/setup --test. Traefik is no Debian package: its tests run where
`traefik` is in PATH.
"""

import asyncio
import contextlib
import http.client
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.certificates import Authority
from tests.federation import converse, federating
from tests.harness import Server, free_port
from tests.live.conftest import SINGLE_SIGN_ON
from tests.matrix import CLIENT, Clients
from tests.raw_http import Answer

SNIPPETS = Path(__file__).resolve().parents[2] / "docs" / "reverse-proxy"
# An ordinary user's PATH leaves nginx out.
FOUND = {
    name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    for name in ("caddy", "nginx", "traefik")
}
PROXIES = [name for name, found in FOUND.items() if found or name != "traefik"]
# The names in the snippets, and the address that they pass requests to.
PUBLIC, APEX, UPSTREAM = "matrix.example.org", "example.org", "127.0.0.1:8008"
# An address that no client of this test has.
SPOOFED = "203.0.113.7"
# A client on this machine that is not at the proxy's own address.
CLIENT_ADDRESS = "127.0.0.2"
# More than nginx's default for a request, less than Synapse's for an upload.
UPLOAD = 3_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The homeserver behind the proxies, and the port and certificate that all of them use."""

    server: Server
    other: Server
    port: int
    certificate: Path
    key: Path
    authority: Authority

    def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        host: str = "localhost",
    ) -> Answer:
        """Send one request through the proxy, the path as it is written, to a site of the proxy.

        Raises OSError or HTTPException if there is no whole answer.
        """
        context = ssl.create_default_context(cafile=str(self.authority.path))
        if host != "localhost":
            # The authority of the tests signs for no other name.
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        raw = socket.create_connection(
            ("127.0.0.1", self.port), timeout=60, source_address=(CLIENT_ADDRESS, 0)
        )
        connection = http.client.HTTPSConnection(host, self.port, timeout=60)
        with contextlib.closing(connection):
            connection.sock = context.wrap_socket(raw, server_hostname=host)
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(
                status=response.status, headers=dict(response.getheaders()), body=response.read()
            )


@pytest.fixture(scope="module")
def site(authority: Authority) -> Iterator[Site]:
    """Two homeservers that federate, the first behind the proxy of each test."""
    port = free_port()
    with Server("small", operator_file=SINGLE_SIGN_ON) as server, Server("none") as other:
        federating(server, "localhost", authority)
        federating(other, "127.0.0.1", authority)
        certificate, key = (
            Path(server.environment.pop(name)) for name in ("SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY")
        )
        server.environment |= {
            "SYNAPSE_SERVER_NAME": f"localhost:{port}",
            "SYNAPSE_PUBLIC_BASEURL": f"https://localhost:{port}/",
            "GANGLION_WELL_KNOWN_SERVER": f"localhost:{port}",
            "TRUSTED_PROXIES": "127.0.0.1/32",
        }
        server.launch()
        other.start()
        server.wait_ready()
        yield Site(
            server=server,
            other=other,
            port=port,
            certificate=certificate,
            key=key,
            authority=authority,
        )


@pytest.fixture(scope="module", params=PROXIES)
def proxied(request: pytest.FixtureRequest, site: Site) -> Iterator[Site]:
    """The same with a proxy in front, which has loaded its snippet."""
    directory = site.server.root / request.param
    directory.mkdir()
    program = FOUND[request.param]
    assert program, f"there is no {request.param}: scripts/setup --test installs it"
    command = [program, *COMMANDS[request.param](site, directory)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={"HOME": str(directory), "XDG_DATA_HOME": str(directory)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(site, process, directory / "log")
        yield site
    finally:
        process.terminate()
        process.wait(20)


def wait_for(site: Site, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the proxy answers for both of its names."""
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError, http.client.HTTPException):
            path = "/.well-known/matrix/server"
            answers = [site.ask(path, host=host).status for host in ("localhost", APEX)]
            if answers == [200, 200]:
                return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def adapted(name: str, site: Site, changes: Sequence[tuple[str, str]]) -> str:
    """A snippet with this test's names and ports. Each change must find something to change."""
    text = (SNIPPETS / name).read_text()
    for pattern, replacement in (*changes, (re.escape(UPSTREAM), site.server.base_url[7:])):
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count, f"{name} has no {pattern}"
    return text


def caddy(site: Site, directory: Path) -> list[str]:
    # Certificates of Caddy's own for all names but localhost, whose one a site of no use loads.
    options = (
        "{\n\tadmin off\n\tskip_install_trust\n\tlocal_certs\n\tauto_https disable_redirects\n"
        f"\tdefault_bind 127.0.0.1\n\thttp_port {free_port()}\n\thttps_port {site.port}\n}}\n"
        f"localhost:{free_port()} {{\n\ttls {site.certificate} {site.key}\n}}\n"
    )
    text = adapted("Caddyfile", site, [(rf"^{PUBLIC} ", "localhost ")])
    (directory / "Caddyfile").write_text(options + text)
    return ["run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]


def nginx(site: Site, directory: Path) -> list[str]:
    text = adapted(
        "nginx.conf",
        site,
        [
            (r"^ *listen \[::\]:443 .*\n", ""),
            (r"listen 443 ", f"listen 127.0.0.1:{site.port} "),
            (rf"server_name {PUBLIC};", "server_name localhost;"),
            (r"ssl_certificate /.*;", f"ssl_certificate {site.certificate};"),
            (r"ssl_certificate_key /.*;", f"ssl_certificate_key {site.key};"),
        ],
    )
    (directory / "ganglion.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    main = "".join(
        (
            f"daemon off;\npid {directory}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n",
            "access_log off;\n",
            *(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds),
            f"include {directory}/ganglion.conf;\n}}\n",
        )
    )
    (directory / "nginx.conf").write_text(main)
    return ["-e", "stderr", "-c", str(directory / "nginx.conf")]


def traefik(site: Site, directory: Path) -> list[str]:
    static = yaml.safe_load((SNIPPETS / "traefik.yaml").read_text())
    del static["certificatesResolvers"]
    points = static["entryPoints"]
    points["websecure"]["http"]["tls"] = {}
    points["websecure"]["address"] = f"127.0.0.1:{site.port}"
    points["web"]["address"] = f"127.0.0.1:{free_port()}"
    static["providers"]["file"]["directory"] = str(directory / "dynamic")
    (directory / "traefik.yaml").write_text(yaml.safe_dump(static))
    (directory / "dynamic").mkdir()
    text = adapted("traefik-dynamic.yaml", site, [(rf"Host\(`{PUBLIC}`\)", "Host(`localhost`)")])
    (directory / "dynamic" / "ganglion.yaml").write_text(text)
    pair = {"certFile": str(site.certificate), "keyFile": str(site.key)}
    (directory / "dynamic" / "tls.yaml").write_text(
        yaml.safe_dump({"tls": {"certificates": [pair]}})
    )
    return [f"--configFile={directory}/traefik.yaml"]


COMMANDS: dict[str, Callable[[Site, Path], list[str]]] = {
    "caddy": caddy,
    "nginx": nginx,
    "traefik": traefik,
}


def test_clients_reach_the_homeserver(proxied: Site) -> None:
    answer = proxied.ask("/_matrix/client/versions")
    assert answer.status == 200
    assert "v1.1" in answer.json()["versions"]


def test_the_domain_says_where_the_homeserver_is(proxied: Site) -> None:
    server = proxied.ask("/.well-known/matrix/server", host=APEX)
    assert server.json() == {"m.server": f"localhost:{proxied.port}"}
    client = proxied.ask("/.well-known/matrix/client", host=APEX)
    assert client.json()["m.homeserver"]["base_url"] == f"https://localhost:{proxied.port}/"


@pytest.mark.parametrize(
    "path",
    [
        "/_matrix/client/v3/directory/room/%23alias%3Alocalhost",
        "/_matrix/client/v3/profile/%40a%2Fb%3Alocalhost",
        "/_matrix/federation/v1/event/%24a%2Fb%2B%25%3F%3B%5C",
        "/_matrix/federation/v1/state/!opaque:localhost?event_id=%24a%2Bb",
        "/_matrix/client/v3/rooms/%21a//b/state",
    ],
)
def test_a_path_arrives_as_it_was_sent(proxied: Site, path: str) -> None:
    """Federation requests are signed with their path, and Synapse matches it undecoded."""
    mark = proxied.server.log.settle()
    token = secrets.token_hex(8)
    sent = f"{path}{'&' if '?' in path else '?'}access_token={token}"
    proxied.ask(sent)
    proxied.server.log.settle()
    # Synapse leaves the token's value out of its log.
    wanted = sent.replace(token, "<redacted>")
    seen = [request.uri for request in proxied.server.log.requests(mark)]
    assert seen == [wanted]


def test_synapse_knows_the_address_of_a_client(proxied: Site) -> None:
    """And none that a client says it has."""
    mark = proxied.server.log.settle()
    headers = {"X-Forwarded-For": SPOOFED, "X-Real-IP": SPOOFED}
    assert proxied.ask("/_matrix/client/v3/login", headers).status == 200
    proxied.server.log.settle()
    assert [request.ip for request in proxied.server.log.requests(mark)] == [CLIENT_ADDRESS]


def test_synapse_knows_the_public_url_of_a_request(proxied: Site) -> None:
    """Synapse redirects every other URL to its public one, for ever if the proxy hides it."""
    answer = proxied.ask(f"{CLIENT}/login/sso/redirect?redirectUrl=https://app.invalid/")
    assert answer.status == 302
    assert answer.headers["Location"].startswith("https://cas.invalid/")


def test_an_upload_of_a_few_megabytes_passes(proxied: Site) -> None:
    async def token() -> str:
        async with Clients(proxied.server.base_url) as clients:
            return str((await clients.register("uploads")).nio.access_token)

    headers = {
        "Authorization": f"Bearer {asyncio.run(token())}",
        "Content-Type": "application/octet-stream",
    }
    answer = proxied.ask("/_matrix/media/v3/upload", headers, method="POST", body=bytes(UPLOAD))
    assert answer.status == 200, answer.body


def test_other_homeservers_reach_it(proxied: Site) -> None:
    """Invitations, messages and media both ways, all signed."""
    asyncio.run(converse(proxied.server.base_url, proxied.other.base_url))


def test_what_the_files_of_traefik_name_is_there() -> None:
    """Also where Traefik itself is not installed."""
    static = yaml.safe_load((SNIPPETS / "traefik.yaml").read_text())
    dynamic = yaml.safe_load((SNIPPETS / "traefik-dynamic.yaml").read_text())["http"]
    secure = static["entryPoints"]["websecure"]["http"]
    assert secure["tls"]["certResolver"] in static["certificatesResolvers"]
    assert set(secure["encodedCharacters"].values()) == {True}
    for router in dynamic["routers"].values():
        assert router["service"] in dynamic["services"]
        assert set(router["entryPoints"]) <= set(static["entryPoints"])
    servers = dynamic["services"]["ganglion"]["loadBalancer"]["servers"]
    assert servers == [{"url": f"http://{UPSTREAM}"}]
