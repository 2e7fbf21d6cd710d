"""The wake-ups and the processor time of a server that nobody uses."""

import argparse
import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import results, servers, variants
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.usage import add_settle, family, processor_seconds

NOTE = (
    "All processes of a server, PostgreSQL, Redis and nginx among them, without a client, from "
    "{settle:g} s after all answered and for {seconds:g} s. A wake-up is a switch to a thread that "
    "had waited, as Linux counts voluntary switches; the health checks of Docker are not among "
    "them. Processor time is given in thousandths of one processor."
)
WAITED = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)


def measure(
    chosen: Sequence[variants.Variant], options: argparse.Namespace, session: Session
) -> None:
    """Look at every variant in every round."""
    whole = session.add(Table(title="Wake-ups of the whole server", unit="per second"))
    busy = session.add(Table(title="Processor time of the whole server", unit="ms per second"))
    parts = session.add(
        Table(title="Wake-ups by program", unit="per second", ratios=False, plotted=False)
    )
    for variant in variants.turns(chosen, options.rounds):
        with servers.server(variant, options) as server:
            server.start()
            time.sleep(options.settle)
            woken, spent = looked(server.supervisor, options.seconds)
            server.stop()
        whole.add("all", variant.label, sum(woken.values()))
        busy.add("all", variant.label, 1000 * spent)
        for name, count in sorted(woken.items(), key=lambda item: -item[1]):
            parts.add(name, variant.label, count)


def looked(supervisor: int, seconds: float) -> tuple[Mapping[str, float], float]:
    """Return wake-ups per second by program, and processor seconds per second of all.

    Workers are counted by role.
    """
    processes = family(supervisor)
    before = {each.pid: _so_far(each.pid) for each in processes}
    time.sleep(seconds)
    woken: defaultdict[str, float] = defaultdict(float)
    spent = 0.0
    for each in processes:
        began, ended = before[each.pid], _so_far(each.pid)
        # PostgreSQL's processes for one task come and go.
        if began is not None and ended is not None:
            woken[each.name.rstrip("0123456789")] += (ended[0] - began[0]) / seconds
            spent += (ended[1] - began[1]) / seconds
    return woken, spent


def _so_far(pid: int) -> tuple[int, float] | None:
    """Return how often a process has waited, and its processor seconds; None if it has ended."""
    try:
        return _waited(pid), processor_seconds(pid)
    except OSError:
        return None


def _waited(pid: int) -> int:
    """Return how often the threads of a process have waited. Raises OSError if it has ended."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end at any moment.
        with contextlib.suppress(OSError):
            found = WAITED.search((thread / "status").read_text())
            total += int(found[1]) if found else 0
    return total


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench idle", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=30, help="how long to look at each server (30)"
    )
    # The background updates of a new database take 40 s.
    add_settle(parser, 60)
    variants.add_arguments(parser)
    servers.add_arguments(parser)
    results.add_arguments(parser, rounds=3)
    options = parser.parse_args(words)
    session = Session("idle", options, words, servers.images(options))
    measure(variants.chosen(options), options, session)
    note = NOTE.format(settle=options.settle, seconds=options.seconds)
    deliver(session.result("A server that nobody uses", note + servers.note(options)), options)
    return 0
