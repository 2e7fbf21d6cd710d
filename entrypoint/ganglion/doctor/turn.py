"""The check of the TURN server: it answers, and accepts the credentials that Synapse gives out.

STUN and TURN: https://www.rfc-editor.org/rfc/rfc8489 and rfc8656. Credentials of a shared secret:
https://datatracker.ietf.org/doc/html/draft-uberti-behave-turn-rest-00
"""

import base64
import hashlib
import hmac
import re
import secrets
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.control.probes.together import together
from ganglion.doctor.finding import Check, Finding, bad, good
from ganglion.doctor.network import why
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable
from ganglion.settings.reading import LARGEST_SECRET, read_text

COOKIE = 0x2112A442
ALLOCATE, REFRESH = 0x0003, 0x0004
SUCCESS, ERROR = 0x0100, 0x0110
# Attributes.
USERNAME, INTEGRITY, ERROR_CODE, LIFETIME = 0x0006, 0x0008, 0x0009, 0x000D
REALM, NONCE, TRANSPORT = 0x0014, 0x0015, 0x0019
UDP = struct.pack("!BBBB", 17, 0, 0, 0)
URI = re.compile(r"(turns?):(?://)?(\[[^\]]+\]|[^:?]+)(?::(\d+))?(?:\?transport=(udp|tcp))?$")
PORTS = {"turn": 3478, "turns": 5349}
UNAUTHORISED, STALE, MISMATCH = 401, 438, 442


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One TURN URI: why it does not answer, or the code with which it rejects the credentials."""

    uri: str
    failure: str | None = None
    rejected: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The TURN servers, and whether Synapse has credentials for them."""

    relays: tuple[Relay, ...]
    credentials: bool
    file: str


def observe(place: Place) -> Turn:
    """Ask each URI for an allocation, and give it back."""
    uris = place.option("turn_uris", list(place.settings.turn_uris))
    uris = [str(uri) for uri in uris] if isinstance(uris, list) else [str(uris)]
    if not uris:
        raise Unavailable("no TURN server is set (turn_uris)")
    credentials = _credentials(place)
    relays = tuple(together(lambda uri: _ask(place, uri, credentials), uris))
    return Turn(
        relays=relays, credentials=credentials is not None, file=place.file_of("turn_shared_secret")
    )


def _credentials(place: Place) -> tuple[str, str] | None:
    """Return the user and password that Synapse would give to a client."""
    secret = place.option("turn_shared_secret", place.settings.turn_shared_secret)
    path = place.option("turn_shared_secret_path")
    if not secret and isinstance(path, str):
        try:
            secret = read_text(path, LARGEST_SECRET).strip()
        except (OSError, ValueError):
            return None
    if secret:
        # The time at which they end, and a name.
        user = f"{int(place.now.timestamp()) + 600}:@doctor:{place.server_name}"
        digest = hmac.new(str(secret).encode(), user.encode(), hashlib.sha1).digest()
        return user, base64.b64encode(digest).decode()
    user, password = place.option("turn_username"), place.option("turn_password")
    return (str(user), str(password)) if user and password else None


def _ask(place: Place, uri: str, credentials: tuple[str, str] | None) -> Relay:
    parts = URI.match(uri)
    if parts is None:
        return Relay(uri=uri, failure="it is not a TURN URI, such as turn:turn.example.org:3478")
    scheme, host, port, transport = parts.groups()
    host, number = host.strip("[]"), int(port or PORTS[scheme])
    try:
        if scheme == "turns" or transport == "tcp":
            with place.network.connect(host, number, place.network.timeout) as raw:
                raw.settimeout(place.network.timeout)
                if scheme == "turns":
                    with place.network.context.wrap_socket(raw, server_hostname=host) as stream:
                        return Relay(uri=uri, rejected=_allocate(stream, credentials))
                return Relay(uri=uri, rejected=_allocate(raw, credentials))
        family, _, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(place.network.timeout)
            asking.connect(address)
            return Relay(uri=uri, rejected=_allocate(asking, credentials))
    except (OSError, ValueError, struct.error) as error:
        return Relay(uri=uri, failure=why(error))


def _allocate(stream: socket.socket, credentials: tuple[str, str] | None) -> int | None:
    """Allocate and release a relay. Returns the code of a rejection, None without one."""
    kind, found = _request(stream, ALLOCATE, [(TRANSPORT, UDP)])
    if kind == ALLOCATE | SUCCESS:
        # Anybody may use it.
        return None
    code = _code(found)
    if code != UNAUTHORISED or credentials is None:
        return code if code != UNAUTHORISED else None
    user, password = credentials
    realm, nonce = found.get(REALM, b""), found.get(NONCE, b"")
    # MD5 is the protocol's: RFC 8489, section 9.2.2.
    key = hashlib.md5(f"{user}:".encode() + realm + f":{password}".encode()).digest()  # noqa: S324
    proof = [(USERNAME, user.encode()), (REALM, realm), (NONCE, nonce)]
    kind, found = _request(stream, ALLOCATE, [(TRANSPORT, UDP), *proof], key)
    if kind != ALLOCATE | SUCCESS:
        return _code(found)
    _request(stream, REFRESH, [(LIFETIME, struct.pack("!I", 0)), *proof], key)
    return None


def _request(
    stream: socket.socket, kind: int, attributes: list[tuple[int, bytes]], key: bytes | None = None
) -> tuple[int, dict[int, bytes]]:
    """Return the type and the attributes of a response."""
    number = secrets.token_bytes(12)
    body = b"".join(_attribute(name, value) for name, value in attributes)
    if key is not None:
        # The length covers the proof that is still to come.
        head = struct.pack("!HHI", kind, len(body) + 24, COOKIE) + number
        proof = hmac.new(key, head + body, hashlib.sha1).digest()
        body += _attribute(INTEGRITY, proof)
    stream.sendall(struct.pack("!HHI", kind, len(body), COOKIE) + number + body)
    answer = stream.recv(2048)
    if len(answer) < 20 or answer[8:20] != number:
        raise ValueError("it answers, but not as a TURN server")
    answered, length, _ = struct.unpack("!HHI", answer[:8])
    return answered, dict(_attributes(answer[20 : 20 + length]))


def _attribute(name: int, value: bytes) -> bytes:
    return struct.pack("!HH", name, len(value)) + value + b"\0" * (-len(value) % 4)


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while len(body) >= 4:
        name, length = struct.unpack("!HH", body[:4])
        yield name, body[4 : 4 + length]
        body = body[4 + length + (-length % 4) :]


def _code(found: dict[int, bytes]) -> int:
    value = found.get(ERROR_CODE, b"")
    return value[2] * 100 + value[3] if len(value) >= 4 else 0


def judge(found: Turn) -> Iterator[Finding]:
    """Judge the TURN servers."""
    faults = False
    means = "calls between people behind NAT do not connect"
    if not found.credentials:
        faults = True
        yield bad(
            "turn_uris is set without credentials",
            means,
            f"turn_shared_secret: …    # in {found.file}: the static-auth-secret of coturn",
        )
    for relay in found.relays:
        if relay.failure is not None:
            faults = True
            yield bad(
                f"{relay.uri} does not answer: {relay.failure}",
                means,
                "start the TURN server, open its port to UDP and TCP, or correct turn_uris",
            )
        elif relay.rejected is not None:
            faults = True
            yield bad(
                f"{relay.uri} rejects the credentials of Synapse (TURN error {relay.rejected})"
                if relay.rejected in (UNAUTHORISED, STALE, MISMATCH)
                else f"{relay.uri} gives no relay (TURN error {relay.rejected})",
                means,
                f"turn_shared_secret: …    # in {found.file}: static-auth-secret of the TURN"
                " server; then restart",
            )
    if not faults:
        yield good(f"relays calls: {', '.join(relay.uri for relay in found.relays)}")


CHECKS = (
    Check(
        name="turn",
        about="the TURN servers: they answer, and accept the credentials that clients get",
        observe=observe,
        judge=judge,
    ),
)
