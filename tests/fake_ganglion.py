"""A stand-in for Ganglion, for tests of pytest-ganglion alone.

    python tests/fake_ganglion.py run

It answers the plugin's requests on HTTP_PORT and CONTROL_PORT, prints them to standard output,
and writes its start and its end into the file FAKE_JOURNAL. FAKE_… variables make it fail.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

Json = dict[str, Any]
USERS: list[str] = []


def say(line: str) -> None:
    """One line of log."""
    sys.stdout.write(f"fake | {line}\n")
    sys.stdout.flush()


def journal(line: str) -> None:
    """Note what outlives this process."""
    with Path(os.environ["FAKE_JOURNAL"]).open("a", encoding="utf-8") as file:
        file.write(f"{line} {os.getpid()} {os.environ['WORKERS']}\n")


def user(localpart: str) -> Json:
    """A new user, as both ways of making one answer."""
    USERS.append(f"@{localpart}:fake")
    return {
        "user_id": f"@{localpart}:fake",
        "localpart": localpart,
        "device_id": "DEVICE",
        "access_token": f"token of {localpart}",
        "password": "made",
    }


class Handler(BaseHTTPRequestHandler):
    """Answers on both ports: the paths differ."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer requests to a homeserver."""
        answers: Json = {
            "/_matrix/client/versions": {"versions": ["v1.11"]},
            "/_matrix/key/v2/server": {"server_name": "fake"},
            "/users": {"users": USERS},
            "/headers": dict(self.headers.items()),
        }
        self.answer(answers.get(self.path))

    def do_POST(self) -> None:
        """Answer requests to the controls, or register a user."""
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/test/barrier":
            say(f"{self.path} {json.dumps(body)}")
        self.answer(self.done(body))

    def done(self, body: Json) -> Json | None:  # noqa: PLR0911 - one for each
        """The response to a POST, or None for an unknown path."""
        match self.path.strip("/").split("/"):
            case ["test", "reset"] if "FAKE_RESET_FAILS" not in os.environ:
                USERS.clear()
                return {"seconds": 0.01}
            case ["test", "barrier"] if "FAKE_NO_TEST_MODE" not in os.environ:
                return {"seconds": 0.0, "streams": {"events": {"main": 7}}}
            case ["test", "users"]:
                names = [f"{body['prefix']}{n + 1}" for n in range(body["count"])]
                return {"users": [user(name) for name in names]}
            case ["test", "workers", name, what]:
                return {"worker": name, "did": what}
            case ["test", "replication", "delay"]:
                return body
            case ["_matrix", *_]:
                return user(body["username"])
            case ["die"]:
                say("a traceback that says why")
                os._exit(3)
        return None

    def answer(self, body: Json | None) -> None:
        """Send JSON; nothing is not found."""
        raw = json.dumps({"error": "not here"} if body is None else body).encode()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def stop(*_: object) -> NoReturn:
    """End in order."""
    journal("stop")
    os._exit(0)


def main() -> None:
    """Run until told to stop."""
    signal.signal(signal.SIGTERM, stop)
    journal("start")
    say(f"starts with {os.environ['WORKERS']}")
    if words := os.environ.get("FAKE_LAST_WORDS"):
        say(words)
        raise SystemExit(1)
    for name in ("HTTP_PORT", "CONTROL_PORT"):
        server = ThreadingHTTPServer(("127.0.0.1", int(os.environ[name])), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    for path in sorted(Path(os.environ["GANGLION_DATA"]).rglob("*.yaml")):
        say(f"{path.name}: {path.read_text()}")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
