"""Reads of rooms by other homeservers, divided among federation readers in three ways.

`by room` is Ganglion's way; `by URI` sends equal requests to one reader; `in turn` is no key.
"""

import argparse
import hashlib
import http.client
import json
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benchmarks import results
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.single import Device
from benchmarks.usage import processor_seconds
from ganglion.supervisor.watchdog import children_of
from tests.certificates import Authority
from tests.federation import trust
from tests.harness import Server, free_port
from tests.homeserver import FEDERATION, ROOM_VERSION, Homeserver
from tests.raw_http import WITHIN, Answer, UnixConnection, raw_request, unix_request

READERS = 3
# Homeservers that ask. Synapse answers one request at a time of each for a room, in one process.
ASKING = 8
# Requests at once in all.
AT_ONCE = 16
ROOMS = 24
MESSAGES = 60
# Settings of a room besides its members.
STATE = 120
# In how many of ten requests each kind is asked for. A homeserver that misses events asks for
# those in between, then for the state where it cannot find the connection.
MIX = {"state_ids": 4, "get_missing_events": 3, "backfill": 2, "event_auth": 1}
# Caches of what these requests read.
CACHES = ("*getEvent*", "*stateGroupCache*", "_get_state_group_for_event")
SERIES = re.compile(r"^synapse_util_caches_cache(_hits)?\{([^}]*)\} (\S+)$", re.MULTILINE)
NOTE = (
    "{asking} other homeservers ask for state_ids (4 of 10 requests), get_missing_events (3), "
    "backfill (2) and event_auth (1), at random among the last {messages} messages of one room, or "
    "of {rooms} rooms, with {state} state events each. {at_once} requests are under way at once, "
    "sent to the sockets of {readers} federation readers, which start with empty caches in each "
    "round. Processor time is that of the readers and PostgreSQL. Hits are those of the caches of "
    "events and of the state of a group."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A signed request, ready to send, and the room that it reads."""

    room_id: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A room with other homeservers, and its last messages from the oldest to the newest."""

    room_id: str
    events: tuple[str, ...]


# Chooses the number of a reader for a request, which is the n-th.
Way = Callable[[Request, int], int]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % READERS


WAYS: dict[str, Way] = {
    "by room": lambda request, _: _number(request.room_id),
    "by URI": lambda request, _: _number(request.path),
    "in turn": lambda _, number: number % READERS,
}


def prepare(other: Homeserver, room: Room, kind: str, chance: random.Random) -> Request:
    """Sign a request of a kind for a random message of a room."""
    place = chance.randrange(1, len(room.events))
    newest = room.events[place]
    room_id, event = quote(room.room_id, safe=""), quote(newest, safe="")
    method, body = "GET", None
    if kind == "get_missing_events":
        method = "POST"
        earliest = room.events[max(0, place - 10)]
        body = {"earliest_events": [earliest], "latest_events": [newest], "limit": 10}
    path = {
        "state_ids": f"/v1/state_ids/{room_id}?event_id={event}",
        "get_missing_events": f"/v1/get_missing_events/{room_id}",
        "backfill": f"/v1/backfill/{room_id}?v={event}&limit=20",
        "event_auth": f"/v1/event_auth/{room_id}/{event}",
    }[kind]
    path = f"{FEDERATION}{path}"
    headers = {
        "Authorization": other.authorization(method, path, body),
        "Content-Type": "application/json",
        "X-Forwarded-For": "127.0.0.1",
    }
    content = None if body is None else json.dumps(body).encode()
    return Request(room_id=room.room_id, method=method, path=path, headers=headers, body=content)


def requests(
    others: Sequence[Homeserver], rooms: Sequence[Room], count: int
) -> tuple[Request, ...]:
    """Sign `count` requests, the same ones in each round."""
    chance = random.Random(count)  # noqa: S311 - the same requests each time
    kinds = [kind for kind, times in MIX.items() for _ in range(times)]
    return tuple(
        prepare(chance.choice(others), chance.choice(rooms), chance.choice(kinds), chance)
        for _ in range(count)
    )


def make_room(device: Device, others: Sequence[Homeserver], port: int) -> Room:
    """Make a public room, have a user of each other homeserver join it, and talk in it."""
    made = device.ask(
        "POST", "/createRoom", {"preset": "public_chat", "room_version": ROOM_VERSION}
    )
    room_id: str = made["room_id"]
    where = f"/rooms/{quote(room_id, safe='')}"
    for number in range(STATE):
        device.ask("PUT", f"{where}/state/org.example/{number}", {"number": number})

    def send(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        return raw_request(port, method, path, headers, body)

    for number, other in enumerate(others):
        other.join(send, room_id, other.user(f"reader{number}"))
    return Room(
        room_id=room_id,
        events=tuple(
            device.ask(
                "PUT", f"{where}/send/m.room.message/{number}", {"msgtype": "m.text", "body": "hi"}
            )["event_id"]
            for number in range(MESSAGES)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The findings of one round: the seconds of each request, and of all together."""

    took: list[float]
    seconds: float


def ask_all(server: Server, way: Way, asked: Sequence[Request]) -> Found:
    """Send all requests, AT_ONCE of them at a time. Raises AssertionError where one fails."""
    numbered = iter(enumerate(asked))
    taking, took, failed = threading.Lock(), [], []

    def work() -> None:
        connections = [
            UnixConnection(server.run / "sockets" / f"federation_reader{number + 1}.sock")
            for number in range(READERS)
        ]
        while True:
            with taking:
                number, request = next(numbered, (0, None))
            if request is None:
                break
            began = time.monotonic()
            connection = connections[way(request, number)]
            connection.request(request.method, request.path, request.body, request.headers)
            response = connection.getresponse()
            body = response.read()
            took.append(time.monotonic() - began)
            if response.status != http.client.OK:
                failed.append((request.path, response.status, body[:200]))
        for connection in connections:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    seconds = time.monotonic() - began
    assert not failed, failed[0]
    assert len(took) == len(asked), f"{len(took)} of {len(asked)} requests were answered"
    return Found(took=took, seconds=seconds)


def hits(texts: Iterable[str]) -> float:
    """Return the percentage of reads that CACHES answered, from Synapse's metrics of processes."""
    found: Counter[str] = Counter()
    for text in texts:
        for kind, labels, value in SERIES.findall(text):
            if any(f'"{name}"' in labels for name in CACHES):
                found[kind] += round(float(value))
    return 100 * found["_hits"] / max(1, found[""])


def metrics(server: Server, reader: str) -> str:
    """Return the metrics of a reader."""
    path = server.run / "sockets" / f"{reader}.metrics.sock"
    return unix_request(path, "GET", "/_synapse/metrics").body.decode()


def used(server: Server, readers: Sequence[str]) -> float:
    """Return the processor time that the readers and PostgreSQL have taken so far, in seconds."""
    pids = {row["name"]: int(row["pid"]) for row in server.status()}
    own = [pids["postgres"], *children_of(pids["postgres"]), *(pids[name] for name in readers)]
    return sum(processor_seconds(pid) for pid in own)


@contextmanager
def serving() -> Iterator[tuple[Server, tuple[Homeserver, ...]]]:
    """A server, and homeservers that it can verify."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        authority = Authority.make(Path(directory))
        variables = {"SYNAPSE_ENABLE_METRICS": "yes", "SYNAPSE_LOG_LEVEL": "WARNING"}
        server = running.enter_context(Server(f"federation_reader:{READERS}", variables))
        trusted = server.root / "authority.pem"
        trusted.write_bytes(authority.path.read_bytes())
        Path(server.data, "homeserver.d", "50-test.yaml").write_text(trust(str(trusted)))
        server.start()
        others = []
        for number in range(ASKING):
            place = Path(directory, str(number))
            place.mkdir()
            other = Homeserver(free_port(), "localhost")
            running.enter_context(other.open(authority, place))
            others.append(other)
        yield server, tuple(others)
        server.stop()


def measure(options: argparse.Namespace, session: Session) -> None:
    """Ask for one room and for many, each round in every way."""
    rate = session.add(Table(title="Requests per second", unit="requests/s"))
    median = session.add(Table(title="Median", unit="ms"))
    slowest = session.add(Table(title="95 %", unit="ms"))
    processor = session.add(Table(title="Processor time for a request", unit="ms"))
    answered = session.add(Table(title="Reads that caches answered", unit="%", ratios=False))
    readers = [f"federation_reader{number + 1}" for number in range(READERS)]
    with serving() as (server, others):
        device = Device(server.base_url, "host")
        rooms = [make_room(device, others, server.http_port) for _ in range(ROOMS)]
        device.close()
        cases = {"one room": rooms[:1], f"{ROOMS} rooms": rooms}
        for _ in range(options.rounds):
            for case, chosen in cases.items():
                asked = requests(others, chosen, options.requests)
                for name, way in WAYS.items():
                    again = server.ganglion("restart", *readers)
                    assert again.returncode == 0, again.stderr
                    # The keys of the homeservers that ask are fetched once.
                    ask_all(server, WAYS["in turn"], requests(others, rooms[:1], 50))
                    before = used(server, readers)
                    found = ask_all(server, way, asked)
                    count = len(found.took)
                    processor.add(case, name, 1000 * (used(server, readers) - before) / count)
                    rate.add(case, name, count / found.seconds)
                    ordered = sorted(found.took)
                    median.add(case, name, 1000 * ordered[count // 2])
                    slowest.add(case, name, 1000 * ordered[count * 95 // 100])
                    answered.add(case, name, hits(metrics(server, each) for each in readers))


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench federation", description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=1500, help="requests in a round, of each way (1500)"
    )
    results.add_arguments(parser, rounds=3)
    options = parser.parse_args(words)
    session = Session("federation", options, words, ())
    measure(options, session)
    note = NOTE.format(
        asking=ASKING,
        messages=MESSAGES,
        rooms=ROOMS,
        state=STATE,
        at_once=AT_ONCE,
        readers=READERS,
    )
    deliver(session.result("Reads by other homeservers", note), options)
    return 0
