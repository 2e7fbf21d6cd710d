"""How soon /ready sees a fault and its end, how fast it answers, and whether it is ever wrong."""

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import results
from benchmarks.faults import Client
from benchmarks.harm import FILLING, supervisor_of, with_small_disks
from benchmarks.idle import looked
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.usage import add_settle
from ganglion.control.monitor import KEPT
from tests.certificates import Authority
from tests.controls import ControlledServer
from tests.faults import CASES, READER, VARIABLES, WORKERS, Case, prepare, settings_of
from tests.harness import Server, wait_until
from tests.raw_http import Answer, unix_request

# In seconds: from one question to the next, and how long a fault lasts after it was seen.
PAUSE, LASTS = 0.25, 2.0
# In bytes: the free part of the full disk, as PostgreSQL ends on one with nothing left.
LEFT = 32 * 1024**2
CLIENTS = 16
# In seconds, by name: how often somebody asks while the cost is measured; 0 for never.
ASKED = {"nobody asks": 0.0, "asked every 15 s": 15.0, "asked every second": 1.0}
HOURS = (
    "A false alarm is an answer other than 200 to /ready, asked once a second over the socket of "
    "the control application, of a server without a fault: without clients for {idle:.0f} s, then "
    "with {clients} clients that ask without a pause for {load:.0f} s, with metrics. The server, "
    "and the idle one, has {layout}."
)
NOTE = (
    "The control application of {workers}, with TLS and metrics, is asked {rate:.0f} times a "
    "second over its own socket. A fault is seen when /health names its part and reason, from the "
    "end of the command that caused it, and is gone when /ready answers 200, from the end of the "
    "command that repaired it. The last one is a process that replication reaches late, in a "
    "server in test mode, which is behind by definition once it is behind for 5 s. Faults last "
    "{lasts:g} s after they were seen. A false alarm is an answer other than 200 of a server "
    "without a fault, asked once a second: without clients for {idle:.0f} s, and with {clients} "
    "clients that ask without a pause for {load:.0f} s. That server, and the idle one, has "
    "{layout}."
)


@dataclass(slots=True)
class Watch:
    """Asks a server's control application, and notes how long each answer took in seconds."""

    server: Server
    took: list[float] = field(default_factory=list)

    def ask(self, path: str) -> Answer:
        """Ask for /ready or /health."""
        socket = Path(settings_of(self.server).paths.control_socket)
        began = time.monotonic()
        try:
            return unix_request(socket, "GET", path)
        finally:
            self.took.append(time.monotonic() - began)

    def is_ready(self) -> bool:
        """Whether every part works."""
        return self.ask("/ready").status == 200

    def names(self, part: str, said: str) -> bool:
        """Whether the part has this problem."""
        problems: Mapping[str, str] = self.ask("/health").json()["problems"]
        return said in problems.get(part, "")

    def until(self, what: str, look: Callable[[], bool]) -> float:
        """Return the seconds until something is so."""
        began = time.monotonic()

        def slowly() -> bool:
            time.sleep(PAUSE)
            return look()

        wait_until(what, slowly)
        return time.monotonic() - began


@contextlib.contextmanager
def full_disk(server: Server) -> Iterator[None]:
    """Fill the disk of the data directory, except for LEFT."""
    path = server.data / "filler"
    with path.open("wb", buffering=0) as file:
        while os.statvfs(path).f_bavail * os.statvfs(path).f_frsize > LEFT:
            file.write(FILLING)
    yield
    path.unlink()


@contextlib.contextmanager
def late_replication(server: Server) -> Iterator[None]:
    """Let processes hear of a new user a minute later."""
    assert isinstance(server, ControlledServer)
    server.control("/test/replication/delay", milliseconds=60_000)
    server.users(1)
    yield
    server.control("/test/replication/delay", milliseconds=0)


def measure(watch: Watch, case: Case, table: Table) -> None:
    """Cause one fault, and repair it."""
    watch.until("a ready server", watch.is_ready)
    with case.fault(watch.server):
        seen = watch.until(case.name, lambda: watch.names(case.part, case.said))
        time.sleep(LASTS)
    gone = watch.until(f"end of {case.name}", watch.is_ready)
    print(f"{case.name}: seen after {seen:.1f} s, gone after {gone:.1f} s", flush=True)
    table.add(case.name, "seen after", seen)
    table.add(case.name, "gone after", gone)


def all_faults(options: argparse.Namespace, session: Session) -> None:
    """Cause every fault in a server of its layout."""
    table = session.add(Table(title="Faults", unit="s", ratios=False))
    times = session.add(
        Table(title="Time of an answer while parts fail", unit="ms", ratios=False, plotted=False)
    )
    watches = []
    for _ in range(options.rounds):
        with Server(WORKERS, VARIABLES) as server, with_small_disks(server):
            with tempfile.TemporaryDirectory() as directory:
                prepare(server, Authority.make(Path(directory)))
            server.start()
            watches.append(watch := Watch(server))
            watch.until("a ready server", watch.is_ready)
            watch.took.clear()
            for case in (*CASES, Case(full_disk, "disk", "is full", "full disk")):
                measure(watch, case, table)
            server.stop()
        with ControlledServer("client_reader", {"SYNAPSE_ENABLE_METRICS": "yes"}) as controlled:
            controlled.start()
            case = Case(late_replication, "streams", READER, "late replication")
            measure(Watch(controlled), case, table)
            controlled.stop()
    took = sorted(1000 * each for watch in watches for each in watch.took)
    for name, place in (("median", 0.5), ("99 %", 0.99), ("longest", 1.0)):
        times.add(name, "/ready and /health", took[min(len(took) - 1, int(place * len(took)))])


def false_alarms(options: argparse.Namespace, session: Session) -> None:
    """Ask a server that has no fault."""
    table = session.add(Table(title="False alarms", unit="number", ratios=False, plotted=False))
    with Server(options.workers, {"SYNAPSE_ENABLE_METRICS": "yes"}) as server:
        server.start()
        for name, seconds, clients in (
            ("idle", options.idle, 0),
            ("at full load", options.load, options.clients),
        ):
            watch = Watch(server)
            watch.until("a ready server", watch.is_ready)
            with _load(server, clients):
                answers = list(_each_second(watch, seconds))
            bad = [answer for answer in answers if answer.status != 200]
            for answer in bad:
                print(f"{name}: {json.loads(answer.body)}", flush=True)
            print(f"{name}: {len(answers)} answers, {len(bad)} false", flush=True)
            table.add(name, "answers", len(answers))
            table.add(name, "false", len(bad))
        server.stop()


def _each_second(watch: Watch, seconds: float) -> Iterator[Answer]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield watch.ask("/ready")
        time.sleep(1)


def cost(options: argparse.Namespace, session: Session) -> None:
    """Look at the processor time of a server that does nothing but answer /ready."""
    table = session.add(
        Table(title="Processor time of an idle server", unit="ms per second", ratios=False)
    )
    with Server(options.workers, {"SYNAPSE_ENABLE_METRICS": "yes"}) as server:
        server.start()
        watch = Watch(server)
        # The background updates of a new database take 40 s.
        time.sleep(max(options.settle, KEPT))
        for name, every in ASKED.items():
            ended = threading.Event()
            if every:
                asking = threading.Thread(target=_ask, args=(watch, every, ended))
                asking.start()
                time.sleep(every)
            _, spent = looked(supervisor_of(server), options.seconds)
            if every:
                ended.set()
                asking.join()
            table.add(name, "/ready", 1000 * spent)
        server.stop()


def _ask(watch: Watch, every: float, ended: threading.Event) -> None:
    while not ended.wait(every):
        watch.is_ready()


@contextlib.contextmanager
def _load(server: Server, number: int) -> Iterator[None]:
    """Have clients ask without a pause, half of them writing."""
    ended = threading.Event()
    clients = [Client(server.base_url, writes=index % 2 == 0) for index in range(number)]
    for client in clients:
        client.register()
        client.begin()

    def work(client: Client) -> None:
        while not ended.is_set():
            client.ask_once()

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if clients:
        asked = sum(client.requests for client in clients)
        failed = sum(client.failed for client in clients)
        print(f"{asked} requests, of which {failed} failed", flush=True)


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench readiness", description=__doc__)
    whole = "event_persister:2, synchrotron, client_reader, federation_sender, pusher"
    parser.add_argument("--workers", default=whole, help=f"layout for false alarms ({whole})")
    parser.add_argument("--clients", type=int, default=CLIENTS, help=f"at full load ({CLIENTS})")
    parser.add_argument("--idle", type=float, default=900, help="seconds without clients (900)")
    parser.add_argument("--load", type=float, default=600, help="seconds at full load (600)")
    parser.add_argument("--no-faults", action="store_true", help="look for false alarms alone")
    parser.add_argument("--seconds", type=float, default=60, help="to look at the cost for (60)")
    add_settle(parser, 60)
    results.add_arguments(parser, rounds=1)
    options = parser.parse_args(words)
    session = Session("readiness", options, words, [])
    if not options.no_faults:
        all_faults(options, session)
    if options.seconds:
        cost(options, session)
    false_alarms(options, session)
    note = (HOURS if options.no_faults else NOTE).format(
        workers=WORKERS, rate=1 / PAUSE, lasts=LASTS, idle=options.idle, load=options.load,
        clients=options.clients, layout=options.workers,
    )  # fmt: skip
    title = "False alarms of /ready" if options.no_faults else "Faults that /ready sees"
    deliver(session.result(title, note), options)
    return 0
