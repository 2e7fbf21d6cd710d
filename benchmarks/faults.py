"""Requests that fail, and how long users wait, while parts of a running server fail.

Clients ask one server without a pause, each over a connection of its own. Half of them send
messages to rooms, the others read. One fault follows the other. Those of servers outside of
Ganglion come to a second server, which uses them.
"""

import argparse
import contextlib
import http.client
import json
import signal
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks import results
from benchmarks.harm import (
    frozen,
    full,
    kill_a_session,
    reloaded,
    signalled,
    with_small_disks,
    without_descriptors,
    without_inodes,
)
from benchmarks.interruptions import apply, interrupted_apply, interrupted_restore
from benchmarks.output import deliver
from benchmarks.outside import Outside, away, flush
from benchmarks.results import Session, Table
from benchmarks.scarcity import scarce, short_of_memory, short_of_processes, unread
from benchmarks.variants import LAYOUT
from tests.harness import Server
from tests.matrix import CLIENT, Json

CLIENTS = 8
# In seconds: of a client for one response, and of the load before and after each fault.
WITHIN = 60
BEFORE, AFTER = 3.0, 8.0
# In seconds: how long a server outside of Ganglion is away.
AWAY, LONG_AWAY = 5.0, 30.0
# In seconds: how long a part is frozen, full or starved. The watchdog waits longer for a response.
FROZEN = 3.0
# How many messages a page of /messages has.
PAGE = 500
# How often a client asks what no fault should fail.
TRIES = 20
NOTE = (
    "{clients} clients of {workers}, each with one connection, ask {pace}: half send messages to a "
    "room of their own, half sync and ask whoami in turn. The "
    "fault comes {before:.0f} s after the load began, which goes on for {after:.0f} s after the "
    "end of the fault{requests}. A request failed if its response is not 200, or "
    "its connection was refused or cut. The longest gap is that between two answers to one client, "
    "its own request included. A message was lost if the client had its event ID and the room "
    "does not have it afterwards. A client does not repeat a request that failed. An external "
    "PostgreSQL or Redis is one on the same machine that Ganglion does not supervise. A directory "
    "that is filled is on a disk of its own, in memory."
)


def _restart(server: Server) -> None:
    answer = server.ganglion("restart", "--all")
    assert answer.returncode == 0, answer.stderr


def _stop_and_start(server: Server) -> None:
    server.stop()
    server.start()


FAULTS: dict[str, Callable[[Any], object]] = {
    "none": lambda _: None,
    "ganglion restart --all": _restart,
    "stop and start": _stop_and_start,
    "nginx reloaded 10 times": reloaded(10),
    "nginx killed": signalled("nginx", signal.SIGKILL),
    "main killed": signalled("main", signal.SIGKILL),
    "event_persister1 killed": signalled("event_persister1", signal.SIGKILL),
    "synchrotron1 killed": signalled("synchrotron1", signal.SIGKILL),
    "synchrotron1 frozen": signalled("synchrotron1", signal.SIGSTOP),
    "Redis killed": signalled("redis", signal.SIGKILL),
    "PostgreSQL killed": signalled("postgres", signal.SIGKILL),
    "PostgreSQL restarted": signalled("postgres", signal.SIGINT),
    "a session of PostgreSQL killed": kill_a_session,
    f"PostgreSQL frozen for {FROZEN:.0f} s": frozen("postgres", FROZEN),
    f"main frozen for {FROZEN:.0f} s": frozen("main", FROZEN),
    f"supervisor frozen for {FROZEN:.0f} s": frozen("supervisor", FROZEN),
    f"main without descriptors for {FROZEN:.0f} s": without_descriptors("main", FROZEN),
    "supervisor without descriptors, event_persister1 killed": without_descriptors(
        "supervisor", FROZEN, killing="event_persister1"
    ),
    "ganglion apply, a synchrotron more and less": apply("synchrotron:2"),
    "ganglion apply, an event persister more and less": apply("event_persister:3"),
    "apply interrupted, then a start": interrupted_apply("event_persister:3"),
    "restore interrupted elsewhere": interrupted_restore,
}
# These come to a server whose directories are on small disks of their own.
FILLED: dict[str, Callable[[Any], object]] = {
    f"data directory full for {FROZEN:.0f} s": full("data", FROZEN),
    f"run directory full for {FROZEN:.0f} s": full("run", FROZEN),
    f"data directory without inodes for {FROZEN:.0f} s": without_inodes("data", FROZEN),
    f"run directory without inodes for {FROZEN:.0f} s": without_inodes("run", FROZEN),
}
# These come to a server in control groups of its own.
STARVED: dict[str, Callable[[Any], object]] = {
    "memory short, 3 processes killed": short_of_memory(3),
    f"no new process for {FROZEN:.0f} s, client_reader1 killed": short_of_processes(
        FROZEN, "client_reader1"
    ),
    f"output not read for {AWAY:.0f} s": unread(AWAY),
}
EXTERNAL: dict[str, Callable[[Any], object]] = {
    "external PostgreSQL restarted": away("postgres", 0.0),
    f"external PostgreSQL away for {AWAY:.0f} s": away("postgres", AWAY),
    f"external Redis away for {LONG_AWAY:.0f} s": away("redis", LONG_AWAY),
    "external Redis flushed": flush,
}
# Those that take a time of their own, which is measured.
ACTS = ("ganglion restart --all", "stop and start")


@dataclass(slots=True)
class Client:
    """A user in a room. `ended` are the times of its answers, `sent` its events' IDs."""

    base_url: str
    writes: bool
    requests: int = 0
    failed: int = 0
    ended: list[float] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    connection: http.client.HTTPConnection | None = None
    room: str = ""
    since: str = ""

    def register(self) -> None:
        """Make the user and the room. Raises AssertionError where that fails."""
        body = {"auth": {"type": "m.login.dummy"}, "password": "of a benchmark"}
        made = self._must("POST", f"{CLIENT}/register", body)
        self.headers = {"Authorization": f"Bearer {made['access_token']}"}
        room = self._must("POST", f"{CLIENT}/createRoom", {})["room_id"]
        self.room = f"{CLIENT}/rooms/{urllib.parse.quote(room)}"
        self.since = self._must("GET", f"{CLIENT}/sync?timeout=0")["next_batch"]

    def begin(self) -> None:
        """Begin to count anew."""
        self.requests = self.failed = 0
        self.ended, self.sent = [time.monotonic()], []

    def ask_once(self) -> None:
        """Send the next request, and count it."""
        self.requests += 1
        if self.writes:
            path = f"{self.room}/send/m.room.message/{time.monotonic_ns()}"
            status, answer = self._ask("PUT", path, {"msgtype": "m.text", "body": "hello"})
        elif self.requests % 2:
            status, answer = self._ask("GET", f"{CLIENT}/sync?timeout=0&since={self.since}")
        else:
            status, answer = self._ask("GET", f"{CLIENT}/account/whoami")
        if status != 200:
            self.failed += 1
            # As a client does after a failure, and to count an outage by its length.
            time.sleep(0.1)
            return
        self.ended.append(time.monotonic())
        if "event_id" in answer:
            self.sent.append(answer["event_id"])
        self.since = answer.get("next_batch", self.since)

    def lost(self) -> int:
        """Return how many of the events that it had an ID of are not in the room."""
        there: set[str] = set()
        start = ""
        while not set(self.sent) <= there:
            path = f"{self.room}/messages?dir=b&limit={PAGE}{start}"
            page = self._must("GET", path)
            there.update(event["event_id"] for event in page["chunk"])
            if "end" not in page:
                break
            start = f"&from={page['end']}"
        return len(set(self.sent) - there)

    def _must(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        for _ in range(TRIES):
            status, answer = self._ask(method, path, body)
            if status == 200:
                return answer
            # A process notices only when it asks that PostgreSQL has cut a connection.
            time.sleep(0.1)
        raise AssertionError(f"{method} {path}: {status} {answer}")

    def _ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> tuple[int, Json]:
        """Return the status and the response; 0 if there was none."""
        if self.connection is None:
            host = urllib.parse.urlsplit(self.base_url).netloc
            self.connection = http.client.HTTPConnection(host, timeout=WITHIN)
        content = None if body is None else json.dumps(body)
        try:
            self.connection.request(method, path, content, self.headers)
            response = self.connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.connection.close()
            self.connection = None
            return 0, {}


def longest_gap(ended: Sequence[float], until: float) -> float:
    """Return the longest time between two answers, or between the last one and `until`."""
    moments = [*ended, until]
    return max(after - before for before, after in pairwise(moments))


def suffer(
    clients: Sequence[Client], fault: Callable[[], object], least: int = 0, rate: float = 0
) -> tuple[dict[str, float], list[float]]:
    """Have clients ask while something fails, again and again until they sent `least` requests.

    `rate` is how many requests a second all of them begin together, 0 for as many as they can.

    Returns the columns of the table, and how many seconds each fault took.
    """
    took: list[float] = []
    done = threading.Event()

    def ask(client: Client) -> None:
        client.begin()
        due = time.monotonic()
        while not done.is_set():
            client.ask_once()
            # A late request is sent at once, and no other is dropped or added for it.
            due = max(due + (len(clients) / rate if rate else 0), time.monotonic())
            done.wait(due - time.monotonic())

    threads = [threading.Thread(target=ask, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    try:
        time.sleep(BEFORE)
        while not took or sum(each.requests for each in clients) < least:
            began = time.monotonic()
            fault()
            took.append(time.monotonic() - began)
            time.sleep(AFTER)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    until = time.monotonic()
    gaps = {
        writes: max(longest_gap(each.ended, until) for each in clients if each.writes is writes)
        for writes in (True, False)
    }
    found = {
        "requests": sum(each.requests for each in clients),
        "failed": sum(each.failed for each in clients),
        "longest gap of a writer, s": gaps[True],
        "longest gap of a reader, s": gaps[False],
        "messages acknowledged": sum(len(each.sent) for each in clients),
        "lost": sum(each.lost() for each in clients),
    }
    return found, took


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    known = [*FAULTS, *FILLED, *STARVED, *EXTERNAL]
    parser = argparse.ArgumentParser(prog="scripts/bench faults", description=__doc__)
    parser.add_argument("--workers", default=LAYOUT, help=f"the layout ({LAYOUT})")
    parser.add_argument(
        "--fault", action="append", choices=known, help="only this one; may be repeated"
    )
    parser.add_argument(
        "--requests", type=int, default=0, help="repeat each fault until so many were sent (0)"
    )
    parser.add_argument(
        "--rate", type=float, default=0, help="requests a second of all clients; 0 for no pause (0)"
    )
    results.add_arguments(parser, rounds=1)
    options = parser.parse_args(words)
    session = Session("faults", options, words, [])
    table = session.add(
        Table(title="Under each fault", unit="number or seconds", ratios=False, plotted=False)
    )
    acts = session.add(Table(title="Until all is there again", unit="s", ratios=False))
    plot = session.add(Table(title="Requests that failed", unit="number", ratios=False))
    chosen = options.fault or known

    def measure(
        server: Server, clients: Sequence[Client], name: str, fault: Callable[[], object]
    ) -> None:
        found, took = suffer(clients, fault, options.requests, options.rate)
        for column, value in found.items():
            table.add(name, column, value)
        plot.add(name, options.workers, found["failed"])
        if name in ACTS:
            for seconds in took:
                acts.add(name, options.workers, seconds)
        server.wait_ready()

    for faults, running in (
        (FAULTS, _inside),
        (FILLED, _on_small_disks),
        (STARVED, scarce),
        (EXTERNAL, _outside),
    ):
        names = [name for name in faults if name in chosen]
        if names:
            with running(options.workers) as (server, target):
                clients = _clients(server)
                for name in names * options.rounds:
                    measure(server, clients, name, partial(faults[name], target))
    note = NOTE.format(
        clients=CLIENTS,
        workers=options.workers,
        pace=f"{options.rate:g} times a second all together"
        if options.rate
        else "again as soon as they have an answer",
        before=BEFORE,
        after=AFTER,
        requests=f"; it is repeated until {options.requests} requests were sent"
        if options.requests
        else "",
    )
    deliver(session.result("While parts of the server fail", note), options)
    return 0


@contextlib.contextmanager
def _inside(workers: str) -> Iterator[tuple[Server, Server]]:
    """A server, and the target of its faults."""
    with Server(workers) as server:
        yield server, server


@contextlib.contextmanager
def _on_small_disks(workers: str) -> Iterator[tuple[Server, Server]]:
    with Server(workers) as server, with_small_disks(server):
        yield server, server


@contextlib.contextmanager
def _outside(workers: str) -> Iterator[tuple[Server, Outside]]:
    with Outside.running() as others, Server(workers, others.environment) as server:
        yield server, others


def _clients(server: Server) -> list[Client]:
    """Start the server, and register clients."""
    server.start()
    clients = [Client(server.base_url, writes=bool(n % 2)) for n in range(CLIENTS)]
    for client in clients:
        client.register()
    return clients
