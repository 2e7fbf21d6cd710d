"""Checks of TURN and mail servers, with servers of the tests' own."""

import base64
import contextlib
import hashlib
import hmac
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ganglion.doctor import turn
from ganglion.doctor.finding import Finding, Level
from tests.doctoring import NOW, assert_quiet, finding, findings, place
from tests.harness import free_port

SECRET = "static-auth-secret"
REALM, NONCE = b"turn.example.org", b"nonce-of-today"


class TurnServer(socketserver.BaseRequestHandler):
    """A TURN server as far as allocations, with the secret SECRET."""

    released: list[bytes]

    def handle(self) -> None:
        data, asking = self.request
        kind, length, _ = struct.unpack("!HHI", data[:8])
        found = dict(turn._attributes(data[20 : 20 + length]))
        if turn.INTEGRITY not in found:
            body = turn._attribute(turn.ERROR_CODE, bytes([0, 0, 4, 1]) + b"Unauthorized")
            body += turn._attribute(turn.REALM, REALM) + turn._attribute(turn.NONCE, NONCE)
            self.reply(asking, kind | turn.ERROR, data, body)
        elif not self.is_proved(data, found):
            body = turn._attribute(turn.ERROR_CODE, bytes([0, 0, 4, 1]) + b"Unauthorized")
            self.reply(asking, kind | turn.ERROR, data, body)
        else:
            if kind == turn.REFRESH:
                self.server.released.append(found[turn.LIFETIME])  # type: ignore[attr-defined]
            self.reply(asking, kind | turn.SUCCESS, data, b"")

    def is_proved(self, data: bytes, found: dict[int, bytes]) -> bool:
        user = found[turn.USERNAME]
        digest = hmac.new(SECRET.encode(), user, hashlib.sha1).digest()
        password = base64.b64encode(digest)
        key = hashlib.md5(user + b":" + REALM + b":" + password).digest()  # noqa: S324
        # The proof is the last attribute: 4 bytes before its 20.
        expected = hmac.new(key, data[:-24], hashlib.sha1).digest()
        in_time = int(user.split(b":")[0]) > NOW.timestamp()
        return in_time and hmac.compare_digest(expected, found[turn.INTEGRITY])

    def reply(self, asking: Any, kind: int, data: bytes, body: bytes) -> None:
        head = struct.pack("!HHI", kind, len(body), turn.COOKIE) + data[8:20]
        asking.sendto(head + body, self.client_address)


@contextlib.contextmanager
def turn_server() -> Iterator[tuple[int, list[bytes]]]:
    with socketserver.UDPServer(("127.0.0.1", 0), TurnServer) as server:
        server.released = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1], server.released  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def relay(port: int, **options: Any) -> tuple[Finding, ...]:
    uris = [f"turn:127.0.0.1:{port}?transport=udp"]
    return findings("turn", place(options={"turn_uris": uris, **options}))


def test_a_turn_server_that_accepts_the_credentials() -> None:
    with turn_server() as (port, released):
        assert_quiet(relay(port, turn_shared_secret=SECRET))
    # The allocation is given back.
    assert released == [struct.pack("!I", 0)]


def test_another_secret_than_the_turn_servers() -> None:
    with turn_server() as (port, _):
        (found,) = relay(port, turn_shared_secret="another")
    assert found.level is Level.BAD
    assert found.message == (
        f"turn:127.0.0.1:{port}?transport=udp rejects the credentials of Synapse (TURN error 401)"
    )


def test_turn_without_credentials() -> None:
    with turn_server() as (port, _):
        (found,) = relay(port)
    assert found.level is Level.BAD
    assert found.message == "turn_uris is set without credentials"


def test_a_turn_server_that_is_down() -> None:
    port = free_port()
    uris = [f"turn:127.0.0.1:{port}?transport=tcp", "turn.example.org"]
    options = {"turn_uris": uris, "turn_shared_secret": SECRET}
    first, second = findings("turn", place(options=options))
    assert first.message == f"{uris[0]} does not answer: connection refused"
    assert second.message.endswith("it is not a TURN URI, such as turn:turn.example.org:3478")


def test_a_port_of_another_program() -> None:
    def answer(asking: socket.socket) -> None:
        asking.recv(100)
        asking.sendall(b"SSH-2.0-OpenSSH\r\n")

    with tcp_server(answer) as port:
        uris = [f"turn:127.0.0.1:{port}?transport=tcp"]
        options = {"turn_uris": uris, "turn_shared_secret": SECRET}
        found = finding("turn", place(options=options))
    assert found.message.endswith("it answers, but not as a TURN server")


@contextlib.contextmanager
def tcp_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                answer(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class MailServer:
    """SMTP without TLS. It accepts one password."""

    def __init__(self, *extensions: str) -> None:
        self.extensions = extensions
        self.commands: list[str] = []

    def __call__(self, asking: socket.socket) -> None:
        asking.sendall(b"220 mail.example.org\r\n")
        for line in asking.makefile("rb"):
            command = line.decode().strip()
            self.commands.append(command)
            asking.sendall(self.answer(command).encode())
            if command.lower() == "quit":
                return

    def answer(self, command: str) -> str:
        verb = command.partition(" ")[0].upper()
        if verb == "EHLO":
            lines = ["mail.example.org", *self.extensions]
            return "".join(f"250-{line}\r\n" for line in lines) + "250 OK\r\n"
        if verb == "AUTH":
            right = base64.b64encode(b"\0synapse\0right").decode()
            return "235 OK\r\n" if command.endswith(right) else "535 no\r\n"
        return "221 bye\r\n" if verb == "QUIT" else "250 OK\r\n"


def mail(server: MailServer, **options: Any) -> Finding:
    with tcp_server(server) as port:
        section = {"smtp_host": "127.0.0.1", "smtp_port": port, **options}
        return finding("mail", place(options={"email": section}))


def test_a_mail_server_that_accepts_the_login() -> None:
    server = MailServer("AUTH PLAIN")
    assert_quiet([mail(server, smtp_user="synapse", smtp_pass="right")])
    # No mail is sent.
    assert not [line for line in server.commands if line.startswith(("MAIL", "mail", "RCPT"))]


def test_a_login_that_the_mail_server_rejects() -> None:
    found = mail(MailServer("AUTH PLAIN"), smtp_user="synapse", smtp_pass="wrong-password")
    assert found.level is Level.BAD
    assert found.message.endswith("cannot be used: it rejects the login (535)")
    assert "wrong-password" not in str(found)


def test_a_mail_server_without_the_encryption_that_is_required() -> None:
    found = mail(MailServer(), require_transport_security=True)
    assert found.level is Level.BAD
    assert found.message.endswith("it offers no STARTTLS, which is required")
    assert found.fix[-1] == "  force_tls: true"


def test_a_mail_server_that_is_down() -> None:
    section = {"smtp_host": "127.0.0.1", "smtp_port": free_port()}
    found = finding("mail", place(options={"email": section}))
    assert found.message.endswith("cannot be used: connection refused")


def test_without_turn_and_mail_nothing_is_asked() -> None:
    assert finding("turn", place()).level is Level.SKIPPED
    assert finding("mail", place()).level is Level.SKIPPED
