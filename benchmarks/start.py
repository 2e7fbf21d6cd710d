"""The time from the start of a server until every process answers, and its stages."""

import argparse
import contextlib
from collections.abc import Mapping, Sequence

from benchmarks import results, servers, variants
from benchmarks.output import deliver
from benchmarks.results import Session, Table

NOTE = (
    "From `docker run` (without Docker: from starting the program) until each of Synapse's "
    "processes has answered /health on its own listener and nginx on its port, looked at every "
    "5 ms from outside. A first boot has an empty data directory; a later one is the same server, "
    "stopped and started again. No server's data is removed before all are measured, because ext4 "
    "is slow to make files for some minutes after thousands were removed: it looks at each inode "
    "that was freed lately, and leaves it. Stages are what the server says of itself, from the "
    "start of its first process."
)


def measure(
    chosen: Sequence[variants.Variant], options: argparse.Namespace, session: Session
) -> None:
    """Start every variant afresh in every round, and then again with its data."""
    whole = session.add(Table(title="Start until all answer", unit="seconds"))
    boots = ["first boot", *[f"later boot {n}" for n in range(1, options.boots)]]
    stages = {
        boot: session.add(
            Table(title=f"Stages of the {boot}", unit="seconds", ratios=False, plotted=False)
        )
        for boot in boots[:2]
    }
    # None is removed before the last was measured: NOTE says why.
    with contextlib.ExitStack() as stack:
        for variant in variants.turns(chosen, options.rounds):
            server = stack.enter_context(servers.server(variant, options))
            for boot in boots:
                found = server.start()
                whole.add(
                    "first boot" if boot == boots[0] else "later boots",
                    variant.label,
                    found.seconds,
                )
                if boot in stages:
                    _note(stages[boot], variant.label, found.stages)
                server.stop()


def _note(table: Table, label: str, stages: Mapping[str, float]) -> None:
    for stage, seconds in stages.items():
        table.add(stage, label, seconds)


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench start", description=__doc__)
    parser.add_argument("--boots", type=int, default=2, help="boots of each server (2)")
    variants.add_arguments(parser)
    servers.add_arguments(parser)
    results.add_arguments(parser, rounds=5)
    options = parser.parse_args(words)
    session = Session("start", options, words, servers.images(options))
    measure(variants.chosen(options), options, session)
    deliver(session.result("Time to start", NOTE + servers.note(options)), options)
    return 0
