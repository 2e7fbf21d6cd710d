"""How much memory the Python processes of an idle server take, and one more worker."""

import argparse
import time
from collections.abc import Sequence

from benchmarks import results, servers, variants
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.usage import add_settle, programs, pss

NOTE = (
    "PSS (each shared page divided by the number of processes that share it) of all Python "
    "processes, the supervisor among them, {settle:g} s after all answered, without a client. "
    "MB are 10⁶ bytes. What a further worker costs is the slope of the straight line nearest to "
    "the sums with WORKERS=client_reader:N for N in {counts}."
)


def measure(
    chosen: Sequence[variants.Variant], options: argparse.Namespace, session: Session
) -> None:
    """Look at every variant in every round, and how the first and its changes grow."""
    whole = session.add(Table(title="Memory of all processes", unit="MB of PSS"))
    further = session.add(Table(title="Memory of a further worker", unit="MB of PSS"))
    each = session.add(
        Table(title="Memory by process", unit="MB of PSS", ratios=False, plotted=False)
    )
    layout = chosen[0].variables["WORKERS"]
    for variant in variants.turns(chosen, options.rounds):
        found = idle(variant, options)
        whole.add("all", variant.label, sum(size for _, size in found))
        for name, size in found:
            each.add(name, variant.label, size)
        if variant.variables["WORKERS"] == layout and len(options.counts) > 1:
            sums = {
                count: sum(size for _, size in idle(variants.grown(variant, count), options))
                for count in options.counts
            }
            further.add("one more", variant.label, results.least_squares(sums))


def idle(variant: variants.Variant, options: argparse.Namespace) -> list[tuple[str, float]]:
    """The name and the memory of each Python process of a server that has just settled, in MB of
    PSS. Several may have one name.
    """
    with servers.server(variant, options) as server:
        server.start()
        time.sleep(options.settle)
        found = [(program.name, pss(program.pid)) for program in programs(server.supervisor)]
        server.stop()
    return found


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench memory", description=__doc__)
    add_settle(parser, 10)
    variants.add_counts(parser, (2, 6, 10))
    variants.add_arguments(parser)
    servers.add_arguments(parser)
    results.add_arguments(parser, rounds=3)
    options = parser.parse_args(words)
    session = Session("memory", options, words, servers.images(options))
    measure(variants.chosen(options), options, session)
    note = NOTE.format(settle=options.settle, counts=", ".join(map(str, options.counts)))
    deliver(session.result("Memory", note + servers.note(options)), options)
    return 0
