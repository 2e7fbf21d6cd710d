"""The time of one request of one client, on an idle server and under half of its capacity.

All servers run at once, each in its turn, so what else the machine does meets all of them alike.
"""

import argparse
import asyncio
import contextlib
import secrets
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import population, results, servers, traffic
from benchmarks.background import Reached, load
from benchmarks.fleet import Member, fleet, launch_all, stop_all
from benchmarks.output import deliver
from benchmarks.results import TIMES, Session, Table
from benchmarks.single import KINDS, REMOTE, ROOMS, Scene
from benchmarks.usage import Program, family, processor_seconds
from benchmarks.variants import ALONE, LAYOUT, PEER, Variant, assignments, change
from benchmarks.wrk import wrk

TEST_MODE = "GANGLION_TEST_MODE=yes"
# Hashing a password is to be no part of the comparison.
OPTIONS = {"90-latency.yaml": "bcrypt_rounds: 4\n"}
# Clients of the load in the background, and the seconds in which the capacity is measured, after
# some that do not count.
CLIENTS, USERS, LOADED_ROOMS = 8, 16, 8
WARM_UP, CAPACITY = 2, 5
# In seconds, of a server without a client: what its processes take of themselves.
IDLE = 3.0
WARM_REQUESTS = 3
# In seconds, until all processes have handled a write.
SETTLE = 0.05
# Programs that the table of processor time names. It adds up the others.
SHOWN = 6
PHASES = ("idle", "under load")
NOTE = (
    "One client sends one request at a time over a connection that is open, {requests} of each "
    "kind in a round, to one server after the other in turn. All servers run at once; the first "
    "is WORKERS={alone}. Medians are those of the rounds; the 95th and 99th percentiles are of all "
    "requests. A multiple is the median of a round divided by that of the first server in the same "
    "round. The preparation of a request is not counted: a room to join, a message to read or to "
    "acknowledge, a file to download. `until … has it` starts with sending a message, and ends "
    "when the long poll of another user, which waits, has brought it; the remote server is "
    "Ganglion with main alone, over TLS. Initial and sliding sync are of {rooms} rooms, a file has "
    "100 kB, and passwords are hashed by four rounds of bcrypt. Under load: {users} other users "
    "send {rate} requests per second to the server that is asked ({mixed}), half of what the "
    "slowest of the servers answered at most ({capacity} per second); {reached}."
)
NO_LOAD = "Under load was not measured."
WHERE = (
    " Processor time is that of all processes of the server between sending a request and having "
    "its response, less what they take when idle. Several processes may run at once, so it can "
    "exceed the time of the request; what lacks is waiting."
)


@dataclass(slots=True, kw_only=True)
class Asked:
    """One server, its users, and its measurements."""

    variant: Variant
    member: Member
    scene: Scene
    requests: Path
    capacity: float = 0.0
    # By phase and kind, a list of seconds for each round.
    times: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    reached: list[Reached] = field(default_factory=list)

    def once(self, kind: str) -> float:
        """Make one request. Returns its seconds."""
        return KINDS[kind](self.scene, new_text())()

    def kinds(self, wanted: Sequence[str]) -> list[str]:
        """Return the kinds that it can be asked."""
        return [kind for kind in wanted if kind != REMOTE or self.scene.remote is not None]


def new_text() -> str:
    """Return a text that no other request had, which ends with a number."""
    return f"{secrets.token_hex(4)} {secrets.randbelow(1_000_000)}"


@contextlib.contextmanager
def running(chosen: Sequence[Variant], options: argparse.Namespace) -> Iterator[list[Asked]]:
    """Start all servers and one more that they federate with, and make their users."""
    remote = Variant(label="remote", variables={"WORKERS": ALONE})
    with (
        tempfile.TemporaryDirectory() as directory,
        fleet([*chosen, remote], options, OPTIONS) as members,
    ):
        launch_all(members)
        other = members[-1].base_url
        yield [
            Asked(
                variant=variant,
                member=member,
                scene=Scene.make(member.base_url, None if variant.peer else other),
                requests=Path(directory, f"requests-{number}"),
            )
            for number, (variant, member) in enumerate(zip(chosen, members, strict=False))
        ]
        stop_all(members)


def measure(asked: Sequence[Asked], options: argparse.Namespace, deadline: float) -> float:
    """Measure until all rounds are done or the deadline, of the monotonic clock, has passed.

    Returns the rate of the load, per second.
    """
    for each in asked:
        for kind in each.kinds(options.kind):
            for _ in range(WARM_REQUESTS):
                each.once(kind)
    rate = 0.0
    if not options.idle:
        for each in asked:
            each.capacity = _capacity(each)
        rate = min(each.capacity for each in asked) / 2
    for number in range(options.rounds):
        if number and time.monotonic() > deadline:
            break
        turn = list(asked) if number % 2 == 0 else list(asked)[::-1]
        _idle_round(turn, options)
        if rate:
            for each in turn:
                _loaded_round(each, options, rate)
    return rate


def _capacity(each: Asked) -> float:
    """Let many users ask as much as they can. Returns requests per second."""
    url = each.member.base_url
    people = asyncio.run(population.settle(url, None, USERS, LOADED_ROOMS))
    people = asyncio.run(population.synced(url, people))
    each.requests.write_text(traffic.lines("mixed", people, CLIENTS), encoding="utf-8")
    for seconds in (WARM_UP, CAPACITY):
        found = wrk(
            url,
            seconds=seconds,
            connections=CLIENTS,
            threads=CLIENTS,
            requests=each.requests,
            prefix=secrets.token_hex(4),
        )
    return found.per_second


def _idle_round(turn: Sequence[Asked], options: argparse.Namespace) -> None:
    for kind in options.kind:
        able = [each for each in turn if kind in each.kinds(options.kind)]
        found: dict[str, list[float]] = {each.variant.label: [] for each in able}
        for _ in range(options.requests):
            for each in able:
                found[each.variant.label].append(each.once(kind))
        for each in able:
            _note(each, "idle", kind, found[each.variant.label])


def _loaded_round(each: Asked, options: argparse.Namespace, rate: float) -> None:
    with load(each.member.base_url, rate, CLIENTS, each.requests) as reached:
        for kind in each.kinds(options.kind):
            _note(each, "under load", kind, [each.once(kind) for _ in range(options.requests)])
    each.reached.append(reached)


def _note(each: Asked, phase: str, kind: str, seconds: list[float]) -> None:
    each.times.setdefault(phase, {}).setdefault(kind, []).append(seconds)


def tabulate(asked: Sequence[Asked], session: Session) -> None:
    """Add the tables of both phases to the result."""
    first = asked[0]
    for phase in PHASES:
        medians = session.add(Table(title=f"Median, {phase}", unit="ms", own_scale=True))
        multiples = session.add(
            Table(title=f"{phase.capitalize()}", unit=f"{TIMES} main alone", ratios=False)
        )
        multiples.plotted = False
        percentiles = {
            percent: session.add(Table(title=f"{percent} %, {phase}", unit="ms", plotted=False))
            for percent in (95, 99)
        }
        tails = session.add(
            Table(title=f"95 %, {phase}", unit=f"{TIMES} its median", ratios=False, plotted=False)
        )
        for each in asked:
            label = each.variant.label
            for kind, rounds in each.times.get(phase, {}).items():
                for number, seconds in enumerate(rounds):
                    medians.add(kind, label, 1000 * statistics.median(seconds))
                    theirs = first.times[phase].get(kind)
                    if theirs and each is not first:
                        by = statistics.median(theirs[number])
                        multiples.add(kind, label, statistics.median(seconds) / by)
                every = [second for seconds in rounds for second in seconds]
                for percent, table in percentiles.items():
                    table.add(kind, label, 1000 * percentile(every, percent))
                tails.add(kind, label, percentile(every, 95) / statistics.median(every))


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of 100 do not exceed, between the two nearest."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def where(each: Asked, options: argparse.Namespace, session: Session) -> None:
    """Add a table of the processor time of each program during a request."""
    table = session.add(
        Table(
            title=f"A request at {each.variant.label}, idle: time, and processor time of programs",
            unit="ms",
            ratios=False,
            plotted=False,
        )
    )
    processes = family(each.member.supervisor)
    before = _spent(processes)
    time.sleep(IDLE)
    now_spent = _spent(processes).items()
    resting = {name: max(0.0, now - before.get(name, now)) / IDLE for name, now in now_spent}
    took: dict[str, list[float]] = {}
    ran: dict[str, defaultdict[str, float]] = {}
    for kind in each.kinds(options.kind):
        took[kind], ran[kind] = [], defaultdict(float)
        for _ in range(options.requests):
            act = KINDS[kind](each.scene, new_text())
            # Replication of the preparation ends first.
            time.sleep(SETTLE)
            processes = family(each.member.supervisor)
            before = _spent(processes)
            took[kind].append(act())
            for name, now in _spent(processes).items():
                of_itself = resting.get(name, 0.0) * took[kind][-1]
                ran[kind][name] += max(0.0, now - before.get(name, now) - of_itself)
    for kind, programs in ran.items():
        table.add(kind, "time", 1000 * statistics.mean(took[kind]))
        for column, seconds in columns(programs, most_used(ran.values())).items():
            table.add(kind, column, 1000 * seconds / options.requests)


def most_used(ran: Iterable[Mapping[str, float]]) -> list[str]:
    """Return the programs that ran longest, as many as a table has room for."""
    whole: Counter[str] = Counter()
    for programs in ran:
        whole.update(programs)
    return [name for name, _ in whole.most_common(SHOWN)]


def columns(programs: Mapping[str, float], shown: Sequence[str]) -> dict[str, float]:
    """Return the sum of all programs, those that are shown, and the rest."""
    whole = sum(programs.values())
    found = {name: programs.get(name, 0.0) for name in shown}
    return {"all programs": whole, **found, "others": whole - sum(found.values())}


def _spent(processes: Sequence[Program]) -> Mapping[str, float]:
    """Return the processor seconds of programs by name; workers are counted by role."""
    found: dict[str, float] = {}
    for process in processes:
        name = process.name.rstrip("0123456789")
        with contextlib.suppress(OSError):
            found[name] = found.get(name, 0.0) + processor_seconds(process.pid)
    return found


def chosen(options: argparse.Namespace) -> list[Variant]:
    """Return the servers to compare, main alone first."""
    layout = {"WORKERS": options.workers}
    found = [
        Variant(label=f"WORKERS={ALONE}", variables={"WORKERS": ALONE}),
        Variant(label=options.workers, variables=layout),
        Variant(
            label=f"{options.workers}, {TEST_MODE}",
            variables={**layout, "GANGLION_TEST_MODE": "yes"},
        ),
    ]
    found += [
        Variant(label=text, variables=layout | assignments(text)) for text in options.changes or ()
    ]
    if options.peer:
        found.append(Variant(label=PEER, variables=layout, peer=options.peer))
    return found


def note(asked: Sequence[Asked], options: argparse.Namespace, rate: float) -> str:
    """Return the note below the tables."""
    mixed = ", ".join(f"{weight} {kind}" for kind, weight in traffic.MIXED.items())
    reached = ", ".join(
        f"{each.variant.label} was sent "
        f"{statistics.mean(load.per_second for load in each.reached):.1f} per second, "
        f"{sum(load.errors for load in each.reached)} of which failed"
        for each in asked
        if each.reached
    )
    text = NOTE.format(
        requests=options.requests,
        alone=ALONE,
        rooms=ROOMS,
        users=USERS,
        rate=f"{rate:.1f}",
        mixed=f"{mixed} of {sum(traffic.MIXED.values())}",
        capacity=f"{2 * rate:.1f}",
        reached=reached,
    )
    if not reached:
        text = f"{text.partition(' Under load:')[0]} {NO_LOAD}"
    return text + (WHERE if options.where else "") + servers.note(options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--workers", default=LAYOUT, help=f"the layout ({LAYOUT})")
    parser.add_argument(
        "--with",
        action="append",
        type=change,
        dest="changes",
        metavar="'NAME=VALUE …'",
        help="compare with the layout changed so; may be repeated",
    )
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="only this request; may be repeated"
    )
    parser.add_argument(
        "--requests", type=int, default=20, help="requests of each kind in a round (20)"
    )
    parser.add_argument("--idle", action="store_true", help="do not measure under load")
    parser.add_argument(
        "--where",
        action="store_true",
        help="measure the processor time of each program during a request too",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=30,
        help="begin no further round when so much time has passed (30)",
    )
    servers.add_arguments(parser)
    results.add_arguments(parser, rounds=5)


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="scripts/bench latency", description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(words)
    options.kind = options.kind or list(KINDS)
    session = Session("latency", options, words, servers.images(options))
    with running(chosen(options), options) as asked:
        rate = measure(asked, options, began + 60 * options.minutes)
        tabulate(asked, session)
        if options.where:
            for each in asked:
                if not each.variant.peer:
                    where(each, options, session)
    deliver(session.result("One request at a time", note(asked, options, rate)), options)
    return 0
