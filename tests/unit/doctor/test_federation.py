"""Checks of the server's name: a name server, a website and a homeserver of the tests' own."""

import contextlib
import datetime as dt
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import trustme
from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key

from ganglion.doctor.federation import split
from ganglion.doctor.finding import Finding, Level
from ganglion.doctor.network import Network
from ganglion.doctor.place import Place
from tests.doctoring import (
    Reply,
    Zone,
    assert_quiet,
    finding,
    findings,
    http_server,
    place,
    redirected,
)

NAME, MATRIX = "example.org", "matrix.example.org"
# Addresses that are public, which the tests lead to their own ports.
SITE, HOME = "198.41.0.4", "199.9.14.201"
KEY = generate_signing_key("test")
PUBLIC = encode_verify_key_base64(get_verify_key(KEY))
SERVER = {"m.server": f"{MATRIX}:443"}
CLIENT = {"m.homeserver": {"base_url": f"https://{MATRIX}/"}}
OPEN = {"Access-Control-Allow-Origin": "*"}
KEYS = {"server_name": NAME, "verify_keys": {"ed25519:test": {"key": PUBLIC}}}


class World:
    """A zone, and the documents at two addresses; tests break one thing each."""

    def __init__(self) -> None:
        self.zone: dict[str, tuple[Any, ...]] = {NAME: (SITE,), MATRIX: (HOME,)}
        self.documents: dict[str, Reply] = {
            "/.well-known/matrix/server": (200, {}, json.dumps(SERVER).encode()),
            "/.well-known/matrix/client": (200, OPEN, json.dumps(CLIENT).encode()),
            "/_matrix/key/v2/server": (200, {}, json.dumps(KEYS).encode()),
        }
        self.names: tuple[str, ...] = (NAME, MATRIX)
        self.ports: tuple[tuple[str, int], ...] = ((SITE, 443), (HOME, 443))
        self.environ = {
            "SYNAPSE_SERVER_NAME": NAME,
            "SYNAPSE_PUBLIC_BASEURL": f"https://{MATRIX}/",
            "SYNAPSE_SIGNING_KEY": f"ed25519 test {_seed()}",
        }
        self.options: dict[str, Any] = {}
        # TLS itself goes by the clock of the machine.
        self.now = dt.datetime.now(dt.UTC)
        self.ends = self.now + dt.timedelta(days=80)

    def document(self, name: str, content: object, status: int = 200, **headers: str) -> None:
        """Replace one of the documents."""
        given = {header.replace("_", "-"): value for header, value in headers.items()}
        path = f"/.well-known/matrix/{name}" if name in ("server", "client") else name
        text = content if isinstance(content, str) else json.dumps(content)
        self.documents[path] = (status, given, text.encode())

    def answer(self, _method: str, path: str, _body: bytes) -> Reply:
        return self.documents.get(path, (404, {}, b"no such page"))

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        """Yield an installation that meets this world as a stranger's machine would."""
        authority = trustme.CA()
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*self.names, not_after=self.ends).configure_cert(own)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        with Zone(self.zone).serve() as nameserver, http_server(self.answer, own) as port:
            network = Network(
                nameservers=(nameserver,),
                timeout=10,
                context=trusting,
                connect=redirected(dict.fromkeys(self.ports, port)),
            )
            yield place(self.environ, self.options, network=network, running=True, now=self.now)

    def finding(self, name: str) -> Finding:
        with self.place() as where:
            return finding(name, where)


def _seed() -> str:
    from unpaddedbase64 import encode_base64  # noqa: PLC0415

    return encode_base64(KEY.encode())


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    "name", ["server-name", "well-known-server", "federation", "well-known-client"]
)
def test_a_server_that_others_find_is_quiet(world: World, name: str) -> None:
    with world.place() as where:
        assert_quiet(findings(name, where))


def test_a_name_without_an_address(world: World) -> None:
    del world.zone[MATRIX]
    found = world.finding("server-name")
    assert found.level is Level.BAD
    assert found.message == (
        "matrix.example.org has no address in DNS, and the well-known document leads there"
    )


def test_a_private_address(world: World) -> None:
    world.zone[MATRIX] = ("10.1.2.3",)
    found = world.finding("server-name")
    assert found.level is Level.NOTICE
    assert "matrix.example.org has the private address 10.1.2.3" in found.message


def test_name_servers_that_do_not_answer(world: World) -> None:
    with world.place() as where:
        silent = place(world.environ, network=Network(nameservers=(), timeout=1), running=True)
    found = finding("server-name", silent)
    assert found.level is Level.NOTICE
    assert found.message == "no name server answers: none is configured"
    assert finding("federation", silent).level is Level.SKIPPED
    del where


def test_silent_name_servers_take_the_time_of_one_step_and_are_named(world: World) -> None:
    with contextlib.ExitStack() as stack:
        asked = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(3)]
        for each in asked:
            each.bind(("127.0.0.1", 0))
        network = Network(nameservers=tuple(each.getsockname() for each in asked), timeout=0.6)
        assert network.patience() == pytest.approx((0.3, 0.15, 0.15))
        found = finding("server-name", place(world.environ, network=network, running=True))
    assert found.message == "no name server answers: 127.0.0.1, 127.0.0.1, 127.0.0.1"
    assert [Network(nameservers=asked, timeout=2).patience() for asked in ((), (("::1", 53),))] == [
        (),
        (2,),
    ]


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ("<html>Not here</html>", 200, "is not a JSON object with a server name as m.server"),
        ({"m.server": "https://matrix.example.org"}, 200, "is not a JSON object with a server"),
        ({"m.server": 8448}, 200, "is not a JSON object with a server name"),
        ("gateway", 502, "answers 502"),
    ],
)
def test_a_broken_document_for_servers(
    world: World, content: object, status: int, message: str
) -> None:
    world.document("server", content, status)
    found = world.finding("well-known-server")
    assert found.level is Level.BAD
    assert message in found.message
    assert found.fix[0] == "GANGLION_WELL_KNOWN_SERVER=example.org:443"


def test_a_document_that_names_another_server_than_the_variable(world: World) -> None:
    world.environ["GANGLION_WELL_KNOWN_SERVER"] = "other.example.org:443"
    found = world.finding("well-known-server")
    assert found.level is Level.BAD
    assert "names matrix.example.org:443, and GANGLION_WELL_KNOWN_SERVER is" in found.message


def test_no_document_is_fine_where_the_name_itself_answers(world: World) -> None:
    del world.documents["/.well-known/matrix/server"]
    world.ports = ((SITE, 443), (SITE, 8448))
    assert world.finding("well-known-server").level is Level.GOOD
    assert world.finding("federation").message == (
        "example.org:8448 answers as example.org, with a valid certificate"
    )


def test_no_document_is_a_fault_where_one_is_configured(world: World) -> None:
    del world.documents["/.well-known/matrix/server"]
    world.environ["GANGLION_WELL_KNOWN_SERVER"] = f"{MATRIX}:443"
    found = world.finding("well-known-server")
    assert (found.level, found.message) == (
        Level.BAD,
        "https://example.org/.well-known/matrix/server answers 404",
    )


def test_a_document_after_a_redirect(world: World) -> None:
    world.documents["/elsewhere"] = world.documents["/.well-known/matrix/server"]
    world.document("server", "", 301, Location="/elsewhere")
    assert world.finding("well-known-server").level is Level.GOOD


def test_redirects_end(world: World) -> None:
    world.document("server", "", 302, Location="/.well-known/matrix/server")
    assert "answers 302" in world.finding("well-known-server").message


def test_an_srv_record_counts_where_there_is_no_document(world: World) -> None:
    del world.documents["/.well-known/matrix/server"]
    world.zone[f"_matrix-fed._tcp.{NAME}"] = ((MATRIX, 8443),)
    world.ports = ((SITE, 443), (HOME, 8443))
    assert world.finding("server-name").message == (
        "example.org leads to matrix.example.org:8443 by the SRV record"
        " _matrix-fed._tcp.example.org"
    )
    assert world.finding("federation").level is Level.GOOD


def test_a_port_that_nobody_reaches(world: World) -> None:
    world.ports = ((SITE, 443),)
    found = world.finding("federation")
    assert found.level is Level.BAD
    assert "matrix.example.org:443 cannot be reached as another server would" in found.message
    assert found.message.endswith("connection refused")


def test_a_certificate_for_another_name(world: World) -> None:
    world.names = (NAME,)
    found = world.finding("federation")
    assert found.level is Level.BAD
    assert "its certificate is not valid: " in found.message
    assert "atrix.example.org" in found.message


def test_a_certificate_of_the_proxy_that_ends_soon(world: World) -> None:
    world.ends = world.now + dt.timedelta(days=6, hours=1)
    found = world.finding("federation")
    assert found.level is Level.NOTICE
    assert found.message == "the certificate at matrix.example.org:443 ends in 6 days"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({**KEYS, "server_name": "example.net"}, "belongs to the server example.net"),
        ({**KEYS, "verify_keys": {"ed25519:x": {"key": "abc"}}}, "has other keys than"),
        ("<html>", "without a server's keys: another program is there"),
    ],
)
def test_delegation_to_another_server(world: World, answer: object, message: str) -> None:
    world.document("/_matrix/key/v2/server", answer)
    found = world.finding("federation")
    assert found.level is Level.BAD
    assert message in found.message


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        ({"m.homeserver": {"base_url": "https://old.example.org"}}, OPEN, "names https://old."),
        ({"m.homeserver": []}, OPEN, "names no m.homeserver.base_url"),
        (CLIENT, {}, "lacks the header Access-Control-Allow-Origin: *"),
    ],
)
def test_a_broken_document_for_clients(
    world: World, content: object, headers: Mapping[str, str], message: str
) -> None:
    world.document("client", content, 200, **headers)
    found = world.finding("well-known-client")
    assert found.level is Level.BAD
    assert message in found.message


def test_no_document_for_clients(world: World) -> None:
    world.document("client", "", 404)
    found = world.finding("well-known-client")
    assert found.level is Level.NOTICE
    assert "answers 404" in found.message


@pytest.mark.parametrize("name", ["localhost", "10.0.0.7:8448", "matrix.test", "home.lan"])
def test_a_local_name_is_not_looked_up(name: str) -> None:
    found = finding("server-name", place({"SYNAPSE_SERVER_NAME": name}, running=True))
    assert found.level is Level.SKIPPED


def test_without_federation_nothing_is_looked_up(world: World) -> None:
    world.options["federation_domain_whitelist"] = []
    assert world.finding("federation").level is Level.SKIPPED


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.org", ("example.org", None)),
        ("example.org:8443", ("example.org", 8443)),
        ("[2001:db8::1]", ("2001:db8::1", None)),
        ("[2001:db8::1]:8448", ("2001:db8::1", 8448)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
    ],
)
def test_server_names_have_a_host_and_a_port(name: str, expected: tuple[str, int | None]) -> None:
    assert split(name) == expected
