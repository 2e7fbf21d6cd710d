"""Plots of results as SVG: bars with the range of the rounds, or lines over a series.

The same result always gives the same bytes: a fixed salt for the IDs of SVG elements, and no date.
"""

import io
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import Result, Table, number

# Okabe and Ito's colours, which people with colour blindness can tell apart. They repeat.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#5b6770")
INK, FAINT = "#1c2328", "#d5dade"
# In inches, of 72 SVG units each.
WIDTH, TITLE, KEY, BAR, LINES, GAP = 11.9, 0.45, 0.25, 0.21, 3.6, 0.5
LEFT, RIGHT = 2.7, 1.2
# Text stays text, for readers that search or scale it. Any: matplotlib's type of the keys is a list
# of all of its options.
STYLE: Any = {
    "svg.hashsalt": "ganglion",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    # No label is a formula, even with dollar signs in it.
    "text.parse_math": False,
}
# matplotlib would write the time and its own version into the file.
METADATA = {"Date": None, "Creator": None}


def draw(result: Result) -> str:
    """Draw an SVG with one panel for each plotted table, one below the other."""
    tables = [table for table in result.tables if table.plotted]
    panels = [TITLE + KEY * _key(table)[1] + _height(table) + GAP for table in tables]
    height = sum(panels) or GAP
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        top = height
        for table, panel in zip(tables, panels, strict=True):
            bottom = top - panel + GAP
            box = (LEFT, bottom, WIDTH - LEFT - RIGHT, _height(table))
            axes = figure.add_axes(
                (box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height)
            )
            _heading(axes, table)
            (_lines if table.series else _bars)(axes, table)
            top -= panel
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Title": result.title, **METADATA})
    return text.getvalue()


def _height(table: Table) -> float:
    """The height of a panel without its heading, in inches."""
    if table.series:
        return LINES
    return BAR * sum(len(row) + 1 for row in table.rows.values())


def _colour(table: Table, variant: str) -> str:
    return COLOURS[table.variants.index(variant) % len(COLOURS)]


def _heading(axes: Axes, table: Table) -> None:
    """Write the title and, where several variants are compared, their colours."""
    columns, rows = _key(table)
    axes.set_title(
        f"{table.title}, {table.unit}", loc="left", pad=8 + KEY * 72 * rows, fontweight="bold"
    )
    if rows:
        for variant in table.variants:
            axes.plot([], [], color=_colour(table, variant), linewidth=6, label=shortened(variant))
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=columns,
            frameon=False,
            borderaxespad=0.3,
            handlelength=0.8,
        )


def _key(table: Table) -> tuple[int, int]:
    """The columns and rows of the key to the colours: no rows for one variant."""
    variants = [shortened(variant) for variant in table.variants]
    if len(variants) < 2:
        return 1, 0
    # A character is about 1/12 inch wide, and a sample of a colour about six characters.
    columns = max(1, int((WIDTH - LEFT) * 12 / (max(map(len, variants)) + 6)))
    return columns, -(-len(variants) // columns)


def shortened(text: str, length: int = 40) -> str:
    """Cut a label that is longer than there is room for."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _bars(axes: Axes, table: Table) -> None:
    """Draw a bar for each row and variant, and a thin line from its least value to its most."""
    for place, label, variant, values in _places(table):
        scale = _longest(table, label)
        middle = statistics.median(values)
        axes.barh(place, middle / scale, height=0.8, color=_colour(table, variant))
        if len(values) > 1:
            axes.plot([min(values) / scale, max(values) / scale], [place] * 2, color=INK, lw=1)
        axes.annotate(
            number(middle),
            (max(values) / scale, place),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    rows = [len(row) for row in table.rows.values()]
    middles = [sum(rows[:index]) + index + rows[index] / 2 - 0.5 for index in range(len(rows))]
    axes.set_yticks(middles, [shortened(label, 28) for label in table.rows])
    axes.set_ylim(sum(rows) + len(rows) - 1, -1)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _places(table: Table) -> Iterator[tuple[int, str, str, Sequence[float]]]:
    """The place of each bar, counted from the top, with an empty one after each row."""
    place = 0
    for label, row in table.rows.items():
        for variant, values in row.items():
            yield place, label, variant, values
            place += 1
        place += 1


def _longest(table: Table, label: str) -> float:
    """The value whose bar is as wide as the panel."""
    most = {name: max(map(max, row.values())) for name, row in table.rows.items()}
    return (most[label] if table.own_scale else max(most.values())) or 1


def _lines(axes: Axes, table: Table) -> None:
    """Draw a line for each variant through the medians, from 0 on both axes."""
    for variant in table.variants:
        points = [
            (float(row), statistics.median(found[variant]))
            for row, found in table.rows.items()
            if variant in found
        ]
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=_colour(table, variant), marker="o", markersize=4)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(table.series)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
