"""The cost of each further worker: time to start, memory, and processor time for each message."""

import argparse
import time
from collections.abc import Sequence

from benchmarks import model, results, servers, usage, variants
from benchmarks.load import WARM_UP, add_population, crowd
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.servers import Server
from benchmarks.usage import Program, add_settle, processor_seconds, programs, pss

# 0 is main alone.
COUNTS = (0, 1, 2, 4, 8, 12, 16, 24, 32, 40)
WORKER = "client_reader"

NOTE = (
    "WORKERS=client_reader:N; 0 is main alone. One client sends messages, one after the other for "
    "{seconds} s; main handles them, and every worker receives each. The processor time of all "
    "N workers together, less what they took in {seconds} s without a client, is divided by the "
    "number of messages. Memory is PSS of all Python processes, {settle:g} s after all answered, "
    "before the first client; MB are 10⁶ bytes. Every start is the first with its data directory; "
    "its processor time is that of all processes that run when all have answered, PostgreSQL's and "
    "nginx's too. What a further worker costs is the slope of the straight line nearest to the "
    "points from one worker on."
)


def measure(
    chosen: Sequence[variants.Variant], options: argparse.Namespace, session: Session
) -> None:
    """Look at every variant with each number of workers, in every round."""
    tables = [
        session.add(Table(title="Start until all answer", unit="seconds", series="workers")),
        session.add(
            Table(title="Processor time of the start", unit="processor seconds", series="workers")
        ),
        session.add(Table(title="Memory of all processes", unit="MB of PSS", series="workers")),
        session.add(
            Table(title="Time of all idle workers for a message", unit="ms", series="workers")
        ),
    ]
    slopes = session.add(Table(title="A further worker", unit="the row's unit", plotted=False))
    for variant in variants.turns(chosen, options.rounds):
        found: dict[str, dict[float, float]] = {}
        for count in options.counts:
            with servers.server(variants.grown(variant, count), options, quick=True) as server:
                values = _look(server, options)
            for table in tables:
                table.add(str(count), variant.label, values[table.unit])
                if count:
                    row = f"{table.title}, {table.unit}"
                    found.setdefault(row, {})[count] = values[table.unit]
        for row, points in found.items():
            if len(points) > 1:
                slopes.add(row, variant.label, results.least_squares(points))


def _look(server: Server, options: argparse.Namespace) -> dict[str, float]:
    """The needs of one server, by their units."""
    ready = server.start().seconds
    start = usage.spent(server.supervisor)
    time.sleep(options.settle)
    running = programs(server.supervisor)
    memory = sum(pss(program.pid) for program in running)
    workers = [program for program in running if program.name.startswith(WORKER)]
    message = _per_message(server, workers, options)
    server.stop()
    return {"seconds": ready, "processor seconds": start, "MB of PSS": memory, "ms": message * 1000}


def _per_message(server: Server, workers: Sequence[Program], options: argparse.Namespace) -> float:
    """Seconds of processor time of all workers for one message; never less than nothing."""
    with crowd(options) as clients:
        clients.prepare(server, "send", 1)
        # So that everything has been done for the first time.
        clients.ask(server, 1, WARM_UP)
        began = _spent(workers)
        time.sleep(options.seconds)
        idle = _spent(workers) - began
        began = _spent(workers)
        load = clients.ask(server, 1, options.seconds)
        return max(0.0, _spent(workers) - began - idle) / load.requests


def _spent(workers: Sequence[Program]) -> float:
    return sum(processor_seconds(worker.pid) for worker in workers)


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    if words[:1] == ["--model"]:
        return model.main(words[1:])
    parser = argparse.ArgumentParser(
        prog="scripts/bench scale",
        description=__doc__,
        epilog="With --model first: a model of larger machines, with options of its own.",
    )
    variants.add_counts(parser, COUNTS)
    variants.add_changes(parser, layout="client_reader:N")
    add_settle(parser, 5)
    add_population(parser, users=2, rooms=1)
    servers.add_arguments(parser, peer=False)
    results.add_arguments(parser, rounds=1)
    options = parser.parse_args(words)
    session = Session("scale", options, words, servers.images(options))
    measure(variants.chosen(options, alone=False), options, session)
    deliver(session.result("From one worker to many", NOTE.format(**vars(options))), options)
    return 0
