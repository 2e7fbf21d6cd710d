"""The cost of holding responses in test mode until every process has seen the write.

Two servers of the same layout run at once, one with GANGLION_CONSISTENT=no. One client asks them in
turn, one request at a time.
"""

import argparse
import contextlib
import http.client
import json
import statistics
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import results, servers
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.variants import Variant
from tests.matrix import CLIENT

LAYOUT = "complement"
LAGGING, HELD = "GANGLION_CONSISTENT=no", "default"
REQUESTS = 50
NOTE = (
    "Two servers in test mode run at once. One client asks them in turn, one request at a time "
    "over one connection to each, {requests} of each kind in a round. The values are medians of "
    "rounds' medians. whoami reads, so it is never held; createRoom writes several times and is "
    "held once."
)


class Client:
    """A user in a room, with one connection to a server."""

    def __init__(self, base_url: str) -> None:
        host = urllib.parse.urlsplit(base_url).netloc
        self._connection = http.client.HTTPConnection(host, timeout=60)
        self._headers: dict[str, str] = {}
        registration = {"auth": {"type": "m.login.dummy"}, "password": "of a benchmark"}
        made = self.ask("POST", f"{CLIENT}/register", registration)
        self.user = urllib.parse.quote(made["user_id"])
        self._headers = {"Authorization": f"Bearer {made['access_token']}"}
        room = self.ask("POST", f"{CLIENT}/createRoom", {})["room_id"]
        self.room = f"{CLIENT}/rooms/{urllib.parse.quote(room)}"
        self.event = self.send(0)

    def ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> dict[str, str]:
        """Send a request and return its response, which must be a success."""
        content = None if body is None else json.dumps(body)
        self._connection.request(method, path, content, self._headers)
        response = self._connection.getresponse()
        text = response.read()
        assert response.status == 200, (method, path, response.status, text)
        found: dict[str, str] = json.loads(text)
        return found

    def send(self, number: int) -> str:
        """Send a message and return its event ID."""
        path = f"{self.room}/send/m.room.message/{number}"
        return self.ask("PUT", path, {"msgtype": "m.text", "body": "hello"})["event_id"]


def _receipt(client: Client, number: int) -> None:
    event = client.send(number + 100_000)
    client.event = event


# Each is asked with the client and a number that no other request had.
KINDS: dict[str, Callable[[Client, int], object]] = {
    "whoami": lambda client, _: client.ask("GET", f"{CLIENT}/account/whoami"),
    "send": lambda client, number: client.send(number),
    "receipt": lambda client, _: client.ask(
        "POST", f"{client.room}/receipt/m.read/{urllib.parse.quote(client.event)}", {}
    ),
    "account data": lambda client, number: client.ask(
        "PUT", f"{CLIENT}/user/{client.user}/account_data/org.example", {"number": number}
    ),
    "typing": lambda client, number: client.ask(
        "PUT",
        f"{client.room}/typing/{client.user}",
        {"typing": True, "timeout": 30_000 + number} if number % 2 else {"typing": False},
    ),
    "to-device": lambda client, number: client.ask(
        "PUT",
        f"{CLIENT}/sendToDevice/org.example/{number}",
        {"messages": {urllib.parse.unquote(client.user): {"*": {"number": number}}}},
    ),
    "createRoom": lambda client, _: client.ask("POST", f"{CLIENT}/createRoom", {}),
}
# Preparations before each request of a kind, outside the measured time.
BEFORE: dict[str, Callable[[Client, int], None]] = {"receipt": _receipt}


@dataclass(slots=True, kw_only=True)
class Numbers:
    """Numbers that are used once."""

    last: int = 0

    def next(self) -> int:
        """Return the next number."""
        self.last += 1
        return self.last


def measure(options: argparse.Namespace, session: Session) -> None:
    """Measure every kind in every round, the servers in turn."""
    table = session.add(Table(title="One request", unit="milliseconds", own_scale=True))
    numbers = Numbers()
    common = {"WORKERS": options.workers, "GANGLION_TEST_MODE": "yes"}
    with contextlib.ExitStack() as running:
        clients = {}
        for name, more in ((LAGGING, {"GANGLION_CONSISTENT": "no"}), (HELD, {})):
            variant = Variant(label=name, variables={**common, **more})
            server = running.enter_context(servers.server(variant, options))
            server.start()
            running.callback(server.stop)
            clients[name] = Client(server.base_url)
        # Caches fill, and connections to the database open.
        for kind in KINDS:
            _round(clients, kind, 5, numbers)
        for _ in range(options.rounds):
            for kind in KINDS:
                for name, seconds in _round(clients, kind, options.requests, numbers).items():
                    table.add(kind, name, 1000 * statistics.median(seconds))


def _round(
    clients: Mapping[str, Client], kind: str, requests: int, numbers: Numbers
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(requests):
        for name, client in clients.items():
            number = numbers.next()
            if kind in BEFORE:
                BEFORE[kind](client, number)
            began = time.monotonic()
            KINDS[kind](client, number)
            found[name].append(time.monotonic() - began)
    return found


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench consistency", description=__doc__)
    parser.add_argument("--workers", default=LAYOUT, help=f"the layout ({LAYOUT})")
    parser.add_argument(
        "--requests",
        type=int,
        default=REQUESTS,
        help=f"requests of each kind in a round ({REQUESTS})",
    )
    servers.add_arguments(parser, peer=False)
    results.add_arguments(parser, rounds=5)
    options = parser.parse_args(words)
    session = Session("consistency", options, words, servers.images(options))
    measure(options, session)
    note = NOTE.format(requests=options.requests)
    deliver(session.result("Holding responses in test mode", note), options)
    return 0
