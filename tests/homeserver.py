"""A homeserver of the test's own, as far as another homeserver must know one.

It publishes its signing key and its users' devices over TLS, signs requests, and has users who are
in rooms of the server under test. It ignores all that it is sent.
"""

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from signedjson.key import generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import add_hashes_and_signatures
from synapse.events import make_event_from_dict
from unpaddedbase64 import encode_base64

from tests.certificates import Authority
from tests.raw_http import Answer

Json = dict[str, Any]
# How a request is sent: method, path, headers, body.
Send = Callable[[str, str, dict[str, str], bytes | None], Answer]
ROOM_VERSION = "10"
FEDERATION = "/_matrix/federation"


class Homeserver:
    """It answers at its name, `127.0.0.1:PORT`, while it is open."""

    def __init__(self, port: int, destination: str) -> None:
        """`destination` is the name of the server to which it sends requests."""
        self.name = f"127.0.0.1:{port}"
        self.destination = destination
        self.key = generate_signing_key("test")
        self.numbers = iter(range(1, 1_000_000))
        # The devices of each of its users.
        self.devices: list[Json] = []

    def user(self, localpart: str) -> str:
        return f"@{localpart}:{self.name}"

    def authorization(self, method: str, path: str, body: Any = None) -> str:
        """Return the header that proves a request to be of this server.

        https://spec.matrix.org/v1.15/server-server-api/#request-authentication
        """
        request: Json = {
            "method": method,
            "uri": path,
            "origin": self.name,
            "destination": self.destination,
        }
        if body is not None:
            request["content"] = body
        signed = sign_json(request, self.name, self.key)["signatures"][self.name]
        (key_id, signature), *_ = signed.items()
        return (
            f'X-Matrix origin="{self.name}",destination="{self.destination}",'
            f'key="{key_id}",sig="{signature}"'
        )

    def ask(self, send: Send, method: str, path: str, body: Json | None = None) -> Json:
        """Send a signed request, which must succeed."""
        headers = {
            "Authorization": self.authorization(method, path, body),
            "Content-Type": "application/json",
        }
        answer = send(method, path, headers, None if body is None else json.dumps(body).encode())
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body!r}"
        found: Json = answer.json()
        return found

    def event(self, content: Json, room_version: str = ROOM_VERSION) -> Json:
        """Complete and sign an event of a room."""
        event = {
            "origin": self.name,
            "origin_server_ts": int(time.time() * 1000),
            "depth": 1,
            "auth_events": [],
            "prev_events": [],
            **content,
        }
        version = KNOWN_ROOM_VERSIONS[room_version]
        add_hashes_and_signatures(version, event, self.name, self.key)
        return event

    def join(self, send: Send, room_id: str, user_id: str) -> "Member":
        """Have a user join a public room of the server under test."""
        room, user = quote(room_id), quote(user_id)
        path = f"{FEDERATION}/v1/make_join/{room}/{user}?ver={ROOM_VERSION}"
        template = self.ask(send, "GET", path)["event"]
        for name in ("hashes", "signatures", "unsigned", "event_id"):
            template.pop(name, None)
        event = self.event(template)
        path = f"{FEDERATION}/v2/send_join/{room}/{quote(event_id(event))}"
        state = self.ask(send, "PUT", path, event)["state"]
        places = {(item["type"], item.get("state_key")): event_id(item) for item in state}
        needed = [("m.room.create", ""), ("m.room.power_levels", "")]
        return Member(
            server=self,
            room_id=room_id,
            user_id=user_id,
            last=event_id(event),
            depth=event["depth"],
            auth=[*(places[place] for place in needed), event_id(event)],
        )

    def transaction(
        self, send: Send, *, pdus: tuple[Json, ...] = (), edus: tuple[Any, ...] = ()
    ) -> None:
        """Send events, and ephemeral units as (type, content)."""
        body = {
            "origin": self.name,
            "origin_server_ts": int(time.time() * 1000),
            "pdus": list(pdus),
            "edus": [{"edu_type": kind, "content": content} for kind, content in edus],
        }
        answer = self.ask(send, "PUT", f"{FEDERATION}/v1/send/{time.time_ns()}", body)
        assert not any("error" in result for result in answer["pdus"].values()), answer

    @contextlib.contextmanager
    def open(self, authority: Authority, directory: Path) -> Iterator[None]:
        """Answer requests at the server's name."""
        server = ThreadingHTTPServer(
            ("127.0.0.1", int(self.name.partition(":")[2])), _handler(self)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(directory))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, path: str) -> Json | None:
        """Return what the server answers at a path; None for what it does not know."""
        known: dict[str, Callable[[], Json]] = {
            "/_matrix/key/v2/server": self._keys,
            f"{FEDERATION}/v1/version": lambda: {"server": {"name": "test", "version": "1"}},
            f"{FEDERATION}/v1/send/": lambda: {"pdus": {}},
            f"{FEDERATION}/v1/query/profile": dict,
            f"{FEDERATION}/v1/user/devices/": lambda: {
                "user_id": unquote(path.rpartition("/")[2]),
                "stream_id": next(self.numbers),
                "devices": self.devices,
            },
            f"{FEDERATION}/v1/user/keys/query": lambda: {"device_keys": {}},
        }
        return next((make() for start, make in known.items() if path.startswith(start)), None)

    def _keys(self) -> Json:
        verify = get_verify_key(self.key)
        found: Json = {
            "server_name": self.name,
            "valid_until_ts": int((time.time() + 86400) * 1000),
            "verify_keys": {f"ed25519:{self.key.version}": {"key": encode_base64(verify.encode())}},
            "old_verify_keys": {},
        }
        return sign_json(found, self.name, self.key)


class Member:
    """A user of that homeserver in a room. It makes the user's events."""

    def __init__(
        self,
        *,
        server: Homeserver,
        room_id: str,
        user_id: str,
        last: str,
        depth: int,
        auth: list[str],
    ) -> None:
        self.server = server
        self.room_id = room_id
        self.user_id = user_id
        self.last = last
        self.depth = depth
        self.auth = auth

    def message(self, text: str) -> Json:
        """Return the user's next message."""
        self.depth += 1
        event = self.server.event(
            {
                "type": "m.room.message",
                "room_id": self.room_id,
                "sender": self.user_id,
                "content": {"msgtype": "m.text", "body": text},
                "depth": self.depth,
                "prev_events": [self.last],
                "auth_events": self.auth,
            }
        )
        self.last = event_id(event)
        return event


def event_id(event: Json) -> str:
    """Return the ID of an event of ROOM_VERSION, which is its hash."""
    version = KNOWN_ROOM_VERSIONS[ROOM_VERSION]
    return str(make_event_from_dict(dict(event), version).event_id)


def _handler(homeserver: Homeserver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = homeserver.answer(self.path)
            status = 404 if found is None else 200
            body = json.dumps(found or {"errcode": "M_UNRECOGNIZED", "error": "no"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = reply  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing of requests."""

    return Handler
