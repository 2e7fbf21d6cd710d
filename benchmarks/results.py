"""Results of benchmarks: raw values, their origin, and tables to read."""

import argparse
import json
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks import machine
from ganglion.cli.output import columns

TIMES = "\N{MULTIPLICATION SIGN}"
# Options for the output and the image, which change no figure.
DULL = ("--json", "--plot", "--image")


@dataclass(slots=True, kw_only=True)
class Table:
    """Values by row and variant; each is the list of what every round found, in `unit`.

    The rows of a `series` are numbers of what it names, along which a line can be drawn. `ratios`:
    whether they are shown, of each variant to the first. `own_scale`: whether rows are so different
    that each is to be drawn as long as there is room.
    """

    title: str
    unit: str
    series: str = ""
    ratios: bool = True
    plotted: bool = True
    own_scale: bool = False
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, variant: str, value: float) -> None:
        """Note what one round found."""
        self.rows.setdefault(row, {}).setdefault(variant, []).append(value)

    def add_up(self) -> None:
        """Replace the values of each variant in each row by their sum, for numbers of cases."""
        for row in self.rows.values():
            for variant, values in row.items():
                row[variant] = [sum(values)]

    @property
    def variants(self) -> list[str]:
        """All variants of which some row has values, in the order in which they were measured."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))


@dataclass(slots=True, kw_only=True)
class Result:
    """One run of a benchmark."""

    benchmark: str
    title: str
    note: str
    date: str
    command: str
    machine: dict[str, str]
    tables: list[Table]

    @classmethod
    def load(cls, text: str) -> Self:
        """Out of JSON that `as_json` made."""
        found: dict[str, Any] = json.loads(text)
        tables = [Table(**each) for each in found.pop("tables")]
        return cls(**found, tables=tables)

    def as_json(self) -> str:
        """All of it, to read by a program."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def add_arguments(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    """The options that every benchmark has."""
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"how often each is measured ({rounds})"
    )
    parser.add_argument("--title", help="a heading for the comparison")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw them")


class Session:
    """One run of a benchmark, from its command line to its result.

    The load of the machine is looked at when it begins: what others do then falsifies figures.
    """

    def __init__(
        self, name: str, options: argparse.Namespace, words: Sequence[str], images: Sequence[str]
    ) -> None:
        self.tables: list[Table] = []
        self._name = name
        self._title: str | None = options.title
        self._words = words
        self._machine = machine.describe(images)
        self._date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        self._machine["load average before"] = f"{machine.load_average():.2f}"

    def add(self, table: Table) -> Table:
        """Add a new table to the result, and return it."""
        self.tables.append(table)
        return table

    def result(self, title: str, note: str) -> Result:
        """The result, without the tables that have no rows."""
        self._machine["load average after"] = f"{machine.load_average():.2f}"
        return Result(
            benchmark=self._name,
            title=self._title or title,
            note=note,
            date=self._date,
            command=command_line(self._name, self._words),
            machine=self._machine,
            tables=[table for table in self.tables if table.rows],
        )


def command_line(name: str, words: Sequence[str]) -> str:
    """The command that was run, without where its results went."""
    kept, skip = [], False
    for word in words:
        option = word.split("=")[0] in DULL
        if not skip and not option:
            kept.append(word)
        skip = option and "=" not in word
    return shlex.join(["scripts/bench", name, *kept])


def number(value: float) -> str:
    """Three significant digits, and no more of a fraction than they need."""
    if value == 0:
        return "0"
    digits = max(0, 2 - int(f"{value:e}".partition("e")[2]))
    return f"{value:.{digits}f}"


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the most behind it where there are several."""
    text = number(statistics.median(values))
    if len(values) == 1:
        return text
    return f"{text} ({number(min(values))} to {number(max(values))})"


def ratio(values: Sequence[float], first: Sequence[float]) -> float | None:
    """How many times the first: the median over the rounds, each against its own.

    None where they cannot be compared, or there is nothing to divide by.
    """
    if len(values) != len(first) or not all(first):
        return None
    return statistics.median(a / b for a, b in zip(values, first, strict=True))


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """The titles of columns and the rows of a table to read."""
    variants = table.variants
    rows = []
    for label, found in table.rows.items():
        first = found.get(variants[0])
        rows.append([label])
        for variant in variants:
            rows[-1].append(_cell(found.get(variant), first, ratios=table.ratios))
    return [table.series, *variants], rows


def _cell(values: Sequence[float] | None, first: Sequence[float] | None, *, ratios: bool) -> str:
    if values is None:
        return ""
    times = ratio(values, first) if ratios and first is not None and values is not first else None
    return spread(values) if times is None else f"{spread(values)} {TIMES}{number(times)}"


def as_text(result: Result) -> str:
    """The result for a terminal."""
    parts = [result.title, f"{result.date}: {result.command}"]
    parts.append(", ".join(f"{name} {value}" for name, value in result.machine.items()))
    for table in result.tables:
        titles, rows = cells(table)
        parts.append(f"\n{table.title}, in {table.unit}\n{columns(titles, rows)}")
    return "\n".join([*parts, "", result.note])


def least_squares(points: Mapping[float, float]) -> float:
    """The slope of the straight line that is nearest to the points."""
    return statistics.linear_regression(list(points), list(points.values())).slope
