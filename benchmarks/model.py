"""A model of larger machines: at how many requests per second each layout is full.

Measured here, with each role in a process of its own: the processor time that each kind of request
takes in each process. Calculated: where that time goes in another layout, on more processors.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import results, servers
from benchmarks.load import WARM_UP, add_population, crowd
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.traffic import MIXED
from benchmarks.usage import Program, family, processor_seconds
from benchmarks.variants import LAYOUT, Variant
from ganglion.plan import assemble
from ganglion.topology.topology import Process, Topology

PROCESSORS = (2, 4, 8, 16, 32, 64)
# The only other program that one processor limits: PostgreSQL and nginx have several processes.
REDIS = "redis-server"
# The cause that fills a layout that has free processes.
ALL_PROCESSORS = "all processors"
# In bytes: so much memory that only processors decide the layout of WORKERS=auto.
MEMORY_OF_EACH = 8 << 30
NOTE = (
    "Measured: {layout}, whose workers have one task each, on the machine below; {seconds} s for "
    "each kind of request with one client, less what the processes take when idle. Everything else "
    "is the model's. A request takes the same processor time in whichever process has the role; "
    "the members of a pool share its requests evenly; a process that hears of a request by "
    "replication without working for it takes the median of all processes; Redis takes more in "
    "proportion to the processes. Requests come in the mixture {mixed}. A layout is full when one "
    "process of Synapse or Redis needs a whole processor, or all together need all processors. "
    "Disks, networks, locks in the database, and the kernel's own costs on many processors are not "
    "in the model. On this machine, with {processors} processors, the model says {said:.1f} "
    "requests per second for {layout}; {clients} clients got {measured:.1f}. The limit "
    "of each layout: {fills}."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The processor seconds of one request of some kind, or of a mixture.

    `work` is by the roles of the process that does it, `hear` what every process of Synapse takes
    besides, `redis` that of Redis for each process of Synapse, and `many` all else.
    """

    work: Mapping[tuple[str, ...], float]
    hear: float
    redis: float
    many: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """When a layout is full: requests per second, and the limit that they meet."""

    rate: float
    by: str


def costs(spent: Mapping[str, float], topology: Topology) -> Costs:
    """Return the costs of a request that took `spent` seconds in each program, by name."""
    processes = [topology.main, *topology.workers]
    hear = statistics.median(spent.get(each.name, 0.0) for each in processes)
    work: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for each in processes:
        work[each.roles] += max(0.0, spent.get(each.name, 0.0) - hear)
    names = {each.name for each in processes} | {REDIS}
    return Costs(
        work=work,
        hear=hear,
        redis=spent.get(REDIS, 0.0) / len(processes),
        many=sum(seconds for name, seconds in spent.items() if name not in names),
    )


def mixture(kinds: Mapping[str, Costs], weights: Mapping[str, int]) -> Costs:
    """Return the costs of the average request of a mixture."""
    parts = [(kinds[kind], weight / sum(weights.values())) for kind, weight in weights.items()]
    work: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for one, part in parts:
        for roles, seconds in one.work.items():
            work[roles] += part * seconds
    return Costs(
        work=work,
        hear=sum(part * one.hear for one, part in parts),
        redis=sum(part * one.redis for one, part in parts),
        many=sum(part * one.many for one, part in parts),
    )


def full(each: Costs, topology: Topology, processors: float) -> Full:
    """Return when a layout is full on a machine with so many processors."""
    processes = [topology.main, *topology.workers]
    loads = {process.name: each.hear for process in processes}
    for roles, seconds in each.work.items():
        members = _members(roles, topology)
        for member in members:
            loads[member.name] += seconds / len(members)
    loads[REDIS] = each.redis * len(processes)
    single = max(loads, key=lambda name: loads[name])
    whole = (sum(loads.values()) + each.many) / processors
    if loads[single] > whole:
        return Full(rate=1 / loads[single], by=single)
    return Full(rate=1 / whole, by=ALL_PROCESSORS)


def _members(roles: tuple[str, ...], topology: Topology) -> Sequence[Process]:
    """Return the processes that do the work of a process with these roles: main without any."""
    for role in roles:
        members = [worker for worker in topology.workers if role in worker.roles]
        if members:
            return members
    return [topology.main]


def topology_of(workers: str, processors: int) -> Topology:
    """Return the processes of a value of WORKERS on a machine with so many processors."""
    variables = {
        "WORKERS": workers,
        "GANGLION_CPUS": str(processors),
        "GANGLION_MEMORY": str(processors * MEMORY_OF_EACH),
    }
    return assemble(variables).topology


def _spent(processes: Iterable[Program]) -> defaultdict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        try:
            found[process.name] += processor_seconds(process.pid)
        except OSError:
            continue
    return found


def measure(
    options: argparse.Namespace,
) -> tuple[dict[str, Costs], dict[str, dict[str, float]], float]:
    """Return the costs of each kind, the seconds by program, and the measured capacity."""
    topology = topology_of(LAYOUT, options.processors)
    kinds: dict[str, Costs] = {}
    seconds: dict[str, dict[str, float]] = {}
    variant = Variant(label=LAYOUT, variables={"WORKERS": LAYOUT})
    with servers.server(variant, options, quick=True) as server, crowd(options) as clients:
        server.start()
        for kind in MIXED:
            clients.prepare(server, kind, 1)
            clients.ask(server, 1, WARM_UP)
            processes = family(server.supervisor)
            before = _spent(processes)
            time.sleep(options.seconds)
            idle = _spent(processes)
            load = clients.ask(server, 1, options.seconds)
            after = _spent(processes)
            seconds[kind] = {
                name: max(0.0, after[name] - 2 * idle[name] + before[name]) / load.requests
                for name in after
            }
            kinds[kind] = costs(seconds[kind], topology)
        clients.prepare(server, "mixed", options.connections)
        clients.ask(server, options.connections, WARM_UP)
        capacity = clients.ask(server, options.connections, options.seconds).per_second
        server.stop()
    return kinds, seconds, capacity


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench scale --model", description=__doc__)
    parser.add_argument("--connections", type=int, default=8, help="clients for the check (8)")
    parser.add_argument(
        "--processors", type=int, default=2, help="processors of this machine, for the check (2)"
    )
    add_population(parser, users=16, rooms=8)
    servers.add_arguments(parser, peer=False)
    results.add_arguments(parser, rounds=1)
    options = parser.parse_args(words)
    session = Session("scale", options, ["--model", *words], servers.images(options))
    kinds, seconds, capacity = measure(options)
    deliver(_result(session, options, kinds, seconds, capacity), options)
    return 0


def _layouts() -> Iterable[tuple[str, Topology]]:
    """Yield the layouts to compare: main alone, and that of WORKERS=auto for each machine."""
    for processors in (1, *PROCESSORS):
        topology = topology_of("auto", processors)
        workers = len(topology.workers)
        yield f"auto for {processors}: {workers} workers", topology


def _result(
    session: Session,
    options: argparse.Namespace,
    kinds: Mapping[str, Costs],
    seconds: Mapping[str, Mapping[str, float]],
    capacity: float,
) -> results.Result:
    each = mixture(kinds, MIXED)
    rates = session.add(Table(title="Full, by the model", unit="requests per second", ratios=False))
    fills: list[str] = []
    for layout, topology in _layouts():
        found: list[Full] = []
        for processors in PROCESSORS:
            when = full(each, topology, processors)
            rates.add(layout, f"{processors} processors", when.rate)
            if not found or found[-1].by != when.by:
                found.append(when)
                fills.append(f"{layout}, from {processors} processors: {when.by}")
    work = session.add(
        Table(title="Processor time of a request", unit="ms", ratios=False, plotted=False)
    )
    for name in sorted({name for spent in seconds.values() for name in spent}):
        for kind, spent in seconds.items():
            work.add(name, kind, 1000 * spent.get(name, 0.0))
    said = full(each, topology_of(LAYOUT, options.processors), options.processors)
    note = NOTE.format(
        layout=LAYOUT,
        seconds=options.seconds,
        mixed=", ".join(f"{weight} {kind}" for kind, weight in MIXED.items()),
        processors=options.processors,
        said=said.rate,
        clients=options.connections,
        measured=capacity,
        fills="; ".join(fills),
    )
    return session.result("Larger machines, by a model", note)
