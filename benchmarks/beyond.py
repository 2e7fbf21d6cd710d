"""Beyond the machines here: what fills first at many processes, and how many processes users need.

Reads the processor times that `scripts/bench scale --model` measured, from docs/performance.md.
First compares the model with measurements of whole servers, then extrapolates.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import ceil, inf
from pathlib import Path

from benchmarks.model import Costs, costs, full, mixture, topology_of
from benchmarks.traffic import MIXED
from benchmarks.variants import LAYOUT

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
TITLE = "Processor time of a request, ms:"
SAID = re.compile(
    r"the model says [\d.]+ requests per second for \w+; \d+ clients got (\d+(?:\.\d+)?)"
)
# docs/sizing.md: mixed requests on 2 processors, `full` by the layout of `auto`.
FULL_BY_AUTO = 0.62
# Of the processor of one process. Above it, requests wait for each other.
BUSY = 0.7
# The part of all users that is online in the busiest hour, how often each of them says something,
# in seconds, and how many devices of others a message wakes. Assumptions.
ONLINE, EVERY, WOKEN = 0.1, 100.0, 10.0
# Further requests of clients for each message.
READS = MIXED["messages"] / MIXED["send"]
# Connections to PostgreSQL of each process, on average over the preset `large`, and the memory of
# each in MB: docs/budget.md.
CONNECTIONS, CONNECTION = 7, 5
# Element publishes of its workers: 25 % of a processor at 40 events per second.
PUBLISHED = 0.25 / 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The busiest hour of a server: what its users do in a second."""

    users: int

    @property
    def messages(self) -> float:
        return self.users * ONLINE / EVERY

    @property
    def syncs(self) -> float:
        return self.messages * WOKEN


def measured(text: str) -> tuple[dict[str, Costs], float]:
    """Return the costs of each kind of request, and the measured rate of the mixture."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in takewhile(
            lambda line: line.startswith("|"), text.partition(TITLE)[2].strip().splitlines()
        )
    ]
    kinds = rows[0][1:]
    topology = topology_of(LAYOUT, 2)
    table: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    for name, *cells in rows[2:]:
        for kind, cell in zip(kinds, cells, strict=True):
            table[kind][name] = float(cell) / 1000
    found = SAID.search(text)
    if found is None:
        raise LookupError(f"{DOCUMENT} has no result of the model")
    return {kind: costs(spent, topology) for kind, spent in table.items()}, float(found[1])


def reproduced(kinds: Mapping[str, Costs], rate: float) -> list[tuple[str, float, float]]:
    """Return each measured figure with the model's: its name, measured, calculated."""
    each = mixture(kinds, MIXED)
    whole = full(each, topology_of(LAYOUT, 2), 2).rate
    layouts = [full(each, topology_of(name, 2), 2).rate for name in ("full", "auto")]
    return [
        (f"{LAYOUT}, 2 processors, mixed requests per second", rate, whole),
        ("`full` by `auto`, 2 processors, mixed requests", FULL_BY_AUTO, layouts[0] / layouts[1]),
    ]


def ceilings(kinds: Mapping[str, Costs], processes: int) -> dict[str, float]:
    """Return the messages per second at which each shared part is full, for so many processes.

    `connections` is the memory of PostgreSQL's connections in GB instead.
    """
    send = kinds["send"]
    return {
        "listening": 1 / send.hear,
        "Redis": 1 / (send.redis * processes),
        "connections": processes * CONNECTIONS * CONNECTION / 1024,
    }


def needed(kinds: Mapping[str, Costs], load: Load, hear: float | None = None) -> dict[str, float]:
    """Return how many processes of each role a load needs; inf if none is enough.

    Each has what listening leaves of BUSY. `hear` is the time of a process that hears of a
    message, in seconds; the measured one by default. PostgreSQL is in processors.
    """
    send, sync, read = kinds["send"], kinds["sync"], kinds["messages"]
    left = BUSY - (send.hear if hear is None else hear) * load.messages

    def number(seconds: float) -> float:
        return inf if left <= 0 else float(ceil(seconds / left))

    persisting = sum(item for roles, item in send.work.items() if "event_persister" in roles)
    found = {
        "event_persister": number(load.messages * persisting),
        "event_creator": number(load.messages * send.work[("event_creator",)]),
        "synchrotron": number(load.syncs * sync.work[("synchrotron",)]),
        "federation_sender": number(load.messages * send.work[("federation_sender",)]),
        "client_reader": number(load.messages * READS * read.work[("client_reader",)]),
    }
    # Main, and the single writers and jobs of the preset `large`.
    found["all"] = sum(found.values()) + 12
    database = load.messages * send.many + load.syncs * sync.many
    return {
        **found,
        "processors for PostgreSQL and nginx": database + load.messages * READS * read.many,
    }


def tables(text: str) -> str:
    """Return all results, as Markdown. `text` is that of docs/performance.md."""
    kinds, rate = measured(text)
    lines = ["| measured here | measured | model | off |", "| --- | ---: | ---: | ---: |"]
    for name, was, said in reproduced(kinds, rate):
        lines.append(f"| {name} | {was:.3g} | {said:.3g} | {100 * (said / was - 1):+.0f} % |")
    lines += [
        "",
        "| processes | all are full at | Redis is full at | PostgreSQL's connections |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for processes in (10, 100, 1000):
        found = ceilings(kinds, processes)
        lines.append(
            f"| {processes:,} | {found['listening']:,.0f} messages/s | {found['Redis']:,.0f}"
            f" messages/s | {found['connections']:.1f} GB |"
        )
    users = (1_000, 10_000, 100_000, 500_000, 1_000_000)
    titles = ["users", "messages/s", *needed(kinds, Load(users=1)), "all, by Element's figure"]
    lines += ["", f"| {' | '.join(titles)} |", f"|{' ---: |' * len(titles)}"]
    for number in users:
        load = Load(users=number)
        cells = [_cell(value) for value in needed(kinds, load).values()]
        other = _cell(needed(kinds, load, PUBLISHED)["all"])
        lines.append(f"| {number:,} | {load.messages:,.0f} | {' | '.join(cells)} | {other} |")
    measured_here = kinds["send"].hear
    last = (
        f"To hear of a message takes {1000 * measured_here:.1f} ms in each process here, so no"
        f" number of processes is enough from {BUSY / measured_here:.0f} messages per second on;"
        f" with the {1000 * PUBLISHED:.1f} ms that Element publishes, from {BUSY / PUBLISHED:.0f}."
    )
    return "\n".join([*lines, "", last])


def _cell(value: float) -> str:
    return "no number" if value == inf else f"{value:,.0f}"


def main(words: Sequence[str]) -> int:
    """Print the tables of docs/scaling.md. Returns the exit status."""
    argparse.ArgumentParser(prog="scripts/bench beyond", description=__doc__).parse_args(words)
    print(tables(DOCUMENT.read_text(encoding="utf-8")))
    return 0
