"""Many servers at once: time until they answer, memory of each, and federation between them."""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results, servers, variants
from benchmarks.fleet import Member, fleet, launch_all, stop_all
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from benchmarks.usage import add_settle, family, pss
from tests.federation import confer

COUNTS = (1, 5, 10, 20)
LAYOUTS = ("none", "client_reader")
FEDERATING = 10
# In seconds, for each part of the conference.
CONFER_WITHIN = 120.0

NOTE = (
    "Servers in test mode over empty data directories, all started at the same moment, until each "
    "answers /_matrix/client/versions through nginx. Processor time is that of the whole machine "
    "from there until the last answers, Docker's own included, divided by the number of servers. "
    "Memory is PSS (each shared page divided by the number of processes that share it) of all of "
    "a server's processes, PostgreSQL, Redis and nginx among them, {settle:g} s after the last "
    "answered; MB are 10⁶ bytes. Federation is over TLS, with certificates of an authority that "
    "all trust: a user of each of {federating} servers joins a room of the first's, one after the "
    "other, and when each server knows of all, all send a message at once, until each user's /sync "
    "has brought the message of each."
)


def measure(
    chosen: Sequence[variants.Variant], options: argparse.Namespace, session: Session
) -> None:
    """Start every variant in every number, in every round."""
    titles = {
        "last": ("Until all answer", "seconds"),
        "first": ("Until the first answers", "seconds"),
        "processor": ("Processor time of a start", "seconds"),
        "memory": ("Memory of each server", "MB of PSS"),
    }
    tables = {
        name: session.add(Table(title=title, unit=unit, series="servers"))
        for name, (title, unit) in titles.items()
    }
    parts = session.add(
        Table(
            title=f"Memory by program, of {max(options.counts)} at once",
            unit="MB of PSS",
            ratios=False,
        )
    )
    federation = session.add(
        Table(title=f"Federation of {options.federating}", unit="seconds", plotted=False)
    )
    for variant in variants.turns(chosen, options.rounds):
        for count in options.counts:
            with fleet([variant] * count, options) as members:
                before = _busy()
                seen = launch_all(members)
                busy = _busy() - before
                time.sleep(options.settle)
                memory = _memory(members)
                for name, value in {
                    "last": seen[-1],
                    "first": seen[0],
                    "processor": busy / count,
                    "memory": sum(memory.values()) / count,
                }.items():
                    tables[name].add(str(count), variant.label, value)
                if count == max(options.counts):
                    for program, size in memory.items():
                        parts.add(program, variant.label, size / count)
                if count == options.federating:
                    urls = [member.base_url for member in members]
                    found = asyncio.run(confer(urls, CONFER_WITHIN))
                    federation.add("until all have joined", variant.label, found.joined)
                    federation.add("until everybody has heard all", variant.label, found.heard)
                stop_all(members)


def _memory(members: Sequence[Member]) -> Counter[str]:
    """The memory of all servers by program, in MB of PSS. Workers are counted by role."""
    found: Counter[str] = Counter()
    for member in members:
        for program in family(member.supervisor):
            found[program.name.rstrip("0123456789")] += pss(program.pid)  # type: ignore[assignment]
    return found


def _busy() -> float:
    """Seconds that the machine's processors have worked since it was started.

    The first line of /proc/stat has hundredths of them: user, nice, system, idle, iowait, irq,
    softirq. https://docs.kernel.org/filesystems/proc.html
    """
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:7])) / 100


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench bulk", description=__doc__)
    variants.add_counts(parser, COUNTS, "how many servers at once")
    parser.add_argument(
        "--federating",
        type=int,
        default=FEDERATING,
        help=f"which of these numbers talk to each other ({FEDERATING})",
    )
    variants.add_arguments(parser)
    add_settle(parser, 5)
    servers.add_arguments(parser)
    results.add_arguments(parser, rounds=1)
    options = parser.parse_args(words)
    options.workers = options.workers or LAYOUTS
    chosen = [
        variants.Variant(
            label=variant.label, variables={"GANGLION_TEST_MODE": "yes", **variant.variables}
        )
        for variant in variants.chosen(options)
    ]
    session = Session("bulk", options, words, servers.images(options))
    measure(chosen, options, session)
    deliver(session.result("Many servers at once", NOTE.format(**vars(options))), options)
    return 0
