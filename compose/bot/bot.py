"""A bot as an application service: it accepts invitations, and answers "!ping" with "pong".

    bot.py register   write its registration with new tokens, unless there is one
    bot.py run        serve the homeserver

The registration is JSON, which is valid YAML, so Python alone is enough.
https://spec.matrix.org/latest/application-service-api/
"""

import http.client
import json
import os
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

Json = dict[str, Any]

CLIENT = "/_matrix/client/v3"
PORT = 8080
# In seconds.
TIMEOUT = 30.0
# The homeserver repeats a transaction until it gets a response, so the last few are enough.
REMEMBERED = 100


def register(path: Path, url: str, localpart: str) -> None:
    """Write the registration, staged and renamed, unless there is one. `url` is the bot's."""
    if path.exists():
        return
    registration = {
        "id": localpart,
        "url": url,
        "as_token": secrets.token_hex(32),
        "hs_token": secrets.token_hex(32),
        "sender_localpart": localpart,
        "rate_limited": False,
        "namespaces": {"users": [], "aliases": [], "rooms": []},
    }
    staged = path.with_suffix(".new")
    staged.write_text(json.dumps(registration, indent=1))
    # The homeserver reads it as another account; no other container has this volume.
    staged.chmod(0o644)
    staged.rename(path)


class Homeserver:
    """The client API, as the bot's user."""

    def __init__(self, url: str, registration: Json) -> None:
        self.url = url
        self.token: str = registration["as_token"]
        self.localpart: str = registration["sender_localpart"]

    def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """Send a request. Raises urllib.error.HTTPError for an error status."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            answer: Json = json.load(response)
        return answer

    def become_user(self) -> None:
        """Register the bot's user. Retry until the homeserver answers."""
        body = {"type": "m.login.application_service", "username": self.localpart}
        while True:
            try:
                self.ask("POST", f"{CLIENT}/register", body)
            except urllib.error.HTTPError as error:
                if json.load(error).get("errcode") != "M_USER_IN_USE":
                    raise
            except (OSError, http.client.HTTPException):
                time.sleep(0.5)
                continue
            return

    def join(self, room: str) -> None:
        """Accept an invitation."""
        self.ask("POST", f"{CLIENT}/join/{quote(room)}", {})

    def say(self, room: str, text: str, transaction: str) -> None:
        """Send a notice, which other bots ignore."""
        path = f"{CLIENT}/rooms/{quote(room)}/send/m.room.message/{quote(transaction)}"
        self.ask("PUT", path, {"msgtype": "m.notice", "body": text})


class Bot:
    """Handles events."""

    def __init__(self, homeserver: Homeserver) -> None:
        self.homeserver = homeserver
        self.seen: list[str] = []
        # A repetition of a transaction may arrive while the first is being handled.
        self.lock = threading.Lock()

    def transaction(self, number: str, events: list[Json]) -> None:
        """Handle a transaction, once."""
        with self.lock:
            if number in self.seen:
                return
            for event in events:
                self.event(event)
            self.seen = [*self.seen[1 - REMEMBERED :], number]

    def event(self, event: Json) -> None:
        """Answer an event for this bot. A rejected answer is logged and not repeated."""
        content = event.get("content", {})
        invited = event.get("type") == "m.room.member" and content.get("membership") == "invite"
        try:
            if invited and str(event.get("state_key")).startswith(f"@{self.homeserver.localpart}:"):
                self.homeserver.join(event["room_id"])
            elif event.get("type") == "m.room.message" and content.get("body") == "!ping":
                self.homeserver.say(event["room_id"], "pong", event["event_id"])
        except urllib.error.HTTPError as error:
            sys.stderr.write(f"rejected: {error.code} {error.read().decode(errors='replace')}\n")
            if error.code >= http.client.INTERNAL_SERVER_ERROR:
                raise


def handler(bot: Bot, hs_token: str) -> type[BaseHTTPRequestHandler]:
    """Return the handler of the homeserver's requests and of the health check."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer the health check; queries for users and rooms get 404."""
            self.answer(200 if self.path == "/health" else 404)

        def do_PUT(self) -> None:
            """Receive a transaction."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            path = urlsplit(self.path).path
            if not secrets.compare_digest(given.encode(), hs_token.encode()):
                self.answer(403)
            elif not path.startswith("/_matrix/app/v1/transactions/"):
                self.answer(404)
            else:
                try:
                    bot.transaction(unquote(path.rpartition("/")[2]), json.loads(body)["events"])
                except OSError as error:
                    # The homeserver sends it again, with growing delays.
                    sys.stderr.write(f"failed: {error}\n")
                    self.answer(503)
                else:
                    self.answer(200)

        def do_POST(self) -> None:
            """Answer a ping of the homeserver."""
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(200 if self.path == "/_matrix/app/v1/ping" else 404)

        def answer(self, status: int) -> None:
            """Send an empty response."""
            raw = b"{}" if status < 400 else json.dumps({"errcode": "M_UNKNOWN"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    return Handler


def main(verb: str) -> None:
    """Run the verb of the command line."""
    path = Path(os.environ.get("REGISTRATION", "/registration/bot.yaml"))
    if verb == "register":
        own_url = os.environ.get("BOT_URL", f"http://bot:{PORT}")
        register(path, own_url, os.environ.get("BOT_NAME", "ping"))
        return
    registration = json.loads(path.read_text())
    homeserver = Homeserver(os.environ.get("HOMESERVER", "http://ganglion:8008"), registration)
    threading.Thread(target=homeserver.become_user, daemon=True).start()
    serving = handler(Bot(homeserver), registration["hs_token"])
    ThreadingHTTPServer(("", PORT), serving).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
