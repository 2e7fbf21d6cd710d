"""Requests per second and how long they take, for single endpoints and a mixture."""

import argparse
import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import population, results, servers, variants
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.servers import Server
from benchmarks.traffic import ENDPOINTS, MIXED, lines
from benchmarks.usage import programs, pss
from benchmarks.wrk import Load, wrk

# In seconds, before anything is counted: caches fill, and connections to PostgreSQL open.
WARM_UP = 2

NOTE = (
    "By wrk on the same machine, over {connections} connections, each of which sends its next "
    "request when the last is answered: {seconds} s for each endpoint in each round, after {warm} "
    "s that do not count. {users} users in {rooms} rooms, rate limits lifted. One server runs at a "
    "time; every second round goes through them the other way about. A sync is incremental, from "
    "where that client's last one ended, and does not wait; a login checks a password by bcrypt. "
    "Mixed: {mixed} of {sum} requests. No request failed. Memory is that of all Python processes."
)


@dataclass(slots=True)
class Crowd:
    """A client's side of one server: its users, once they are made, and requests in a file."""

    options: argparse.Namespace
    file: Path
    people: list[population.Person] = field(default_factory=list)

    def prepare(self, server: Server, endpoint: str, connections: int) -> None:
        """Sync all users once, and write their requests into the file."""
        if not self.people:
            self.people = asyncio.run(
                population.settle(
                    server.base_url, server.secret, self.options.users, self.options.rooms
                )
            )
        self.people = asyncio.run(population.synced(server.base_url, self.people))
        self.file.write_text(lines(endpoint, self.people, connections), encoding="utf-8")

    def ask(self, server: Server, connections: int, seconds: float) -> Load:
        """Send the prepared requests. Raises AssertionError where a request fails."""
        load = wrk(
            server.base_url,
            seconds=seconds,
            connections=connections,
            threads=connections,
            requests=self.file,
            prefix=secrets.token_hex(4),
        )
        assert load.errors == 0, f"{load.errors} of {load.requests} requests failed"
        return load


@contextlib.contextmanager
def crowd(options: argparse.Namespace) -> Iterator[Crowd]:
    """Users yet to be made, and a place for their requests."""
    with tempfile.TemporaryDirectory() as directory:
        yield Crowd(options, Path(directory, "requests"))


def measure(
    chosen: Sequence[variants.Variant], options: argparse.Namespace, session: Session
) -> None:
    """Start, ask and stop one variant after the other, each with its own data."""
    rate = session.add(Table(title="Requests", unit="per second", own_scale=True))
    latencies = {
        name: session.add(
            Table(title=f"Latency, {title}", unit="ms", plotted=name == "p95", own_scale=True)
        )
        for name, title in (("p50", "median"), ("p95", "95 %"), ("p99", "99 %"))
    }
    memory = session.add(Table(title="Memory at the end", unit="MB of PSS", plotted=False))
    with contextlib.ExitStack() as stack:
        made = {
            variant.label: (
                stack.enter_context(servers.server(variant, options, quick=True)),
                stack.enter_context(crowd(options)),
            )
            for variant in chosen
        }
        for variant in variants.turns(chosen, options.rounds):
            server, clients = made[variant.label]
            server.start()
            for endpoint in options.endpoint or ENDPOINTS:
                clients.prepare(server, endpoint, options.connections)
                clients.ask(server, options.connections, WARM_UP)
                load = clients.ask(server, options.connections, options.seconds)
                rate.add(endpoint, variant.label, load.per_second)
                for name, table in latencies.items():
                    table.add(endpoint, variant.label, getattr(load, name))
            used = sum(pss(program.pid) for program in programs(server.supervisor))
            memory.add("all", variant.label, used)
            server.stop()


def add_population(parser: argparse.ArgumentParser, users: int, rooms: int) -> None:
    """The options that say who asks."""
    parser.add_argument(
        "--users", type=int, default=users, help=f"how many users there are ({users})"
    )
    parser.add_argument("--rooms", type=int, default=rooms, help=f"in how many rooms ({rooms})")
    parser.add_argument("--seconds", type=int, default=10, help="how long to ask each time (10)")


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench load", description=__doc__)
    parser.add_argument(
        "--endpoint", action="append", choices=ENDPOINTS, help="only this; may be repeated"
    )
    parser.add_argument("--connections", type=int, default=8, help="clients at once (8)")
    add_population(parser, users=16, rooms=8)
    variants.add_arguments(parser)
    servers.add_arguments(parser)
    results.add_arguments(parser, rounds=5)
    options = parser.parse_args(words)
    session = Session("load", options, words, servers.images(options))
    measure(variants.chosen(options), options, session)
    mixed = ", ".join(f"{weight} {kind}" for kind, weight in MIXED.items())
    note = NOTE.format(**vars(options), warm=WARM_UP, mixed=mixed, sum=sum(MIXED.values()))
    deliver(session.result("Load", note + servers.note(options)), options)
    return 0
