"""A push gateway and an application service in one, for a homeserver to call."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PUSH_PATH = "/_matrix/push/v1/notify"
TRANSACTIONS_PATH = "/_matrix/app/v1/transactions/"
# Takes part in every room that a user of the server is in.
REGISTRATION = """\
id: outside
url: {url}
as_token: {token}-as
hs_token: {token}-hs
sender_localpart: outside
rate_limited: false
namespaces:
  users: [{{exclusive: false, regex: "@.*"}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Where it listens, and every request so far: path, then body."""

    url: str
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def pushed(self, event_id: str) -> bool:
        """Whether a notification of that event came."""
        return any(
            path == PUSH_PATH and body["notification"].get("event_id") == event_id
            for path, body in self.received
        )

    def passed_on(self, event_id: str) -> bool:
        """Whether the application service was sent that event."""
        return any(
            path.startswith(TRANSACTIONS_PATH) and event["event_id"] == event_id
            for path, body in self.received
            for event in body.get("events", ())
        )


@contextlib.contextmanager
def outside() -> Iterator[Outside]:
    """Listen on a port of 127.0.0.1, and answer everything with success."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.take()

        def do_POST(self) -> None:
            self.take()

        def take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            place.received.append((self.path.partition("?")[0], json.loads(body or b"{}")))
            answer = b'{"rejected": []}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        place = Outside(url=f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield place
        finally:
            server.shutdown()
            thread.join()
