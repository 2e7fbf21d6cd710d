"""Pictures of results: bars with the spread of the rounds, or lines, as SVG."""

import statistics
from collections.abc import Sequence
from html import escape

from scripts.benchmarks.results import Result, Table, number

# Colours that can be told apart without seeing red and green (Okabe and Ito's); repeated.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#5b6770")
INK, FAINT = "#1c2328", "#d5dade"
WIDTH, MARGIN, HEADING = 860, 20, 58
LEFT, RIGHT = 190, 90
BAR, GAP = 15, 10
CHART = 260


def draw(result: Result) -> str:
    """An SVG with one panel for each table, one below the other."""
    parts: list[str] = []
    y = MARGIN
    for table in result.tables:
        if table.plotted:
            panel = _lines(table) if table.series else _bars(table)
            parts += [f'<g transform="translate(0 {y})">', *_heading(table), *panel[0], "</g>"]
            y += panel[1] + MARGIN
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
                f'width="{WIDTH}" height="{y}" font-family="sans-serif" font-size="12">'
            ),
            f"<title>{escape(result.title)}</title>",
            f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, text: str, extra: str = "", colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{extra}>{escape(text)}</text>'


def _line(ends: tuple[float, float, float, float], colour: str = FAINT) -> str:
    x1, y1, x2, y2 = (f"{value:.1f}" for value in ends)
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'


def _colour(table: Table, variant: str) -> str:
    return COLOURS[table.variants.index(variant) % len(COLOURS)]


def _heading(table: Table) -> list[str]:
    """The title and, where several things are compared, what the colours stand for."""
    parts = [_text(MARGIN, 14, f"{table.title}, {table.unit}", ' font-weight="bold"')]
    x = float(MARGIN)
    for variant in table.variants if len(table.variants) > 1 else ():
        label = shortened(variant)
        colour = _colour(table, variant)
        parts.append(f'<rect x="{x:.1f}" y="26" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 15, 35, label))
        x += 40 + 7 * len(label)
    return parts


def shortened(text: str, length: int = 40) -> str:
    """A label that fits."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _bars(table: Table) -> tuple[list[str], int]:
    """For each row a bar of each variant, a thin line from its least value to its most."""
    most = {label: max(map(max, row.values())) for label, row in table.rows.items()}
    parts, y = [], float(HEADING)
    for label, row in table.rows.items():
        longest = most[label] if table.own_scale else max(most.values())
        scale = (WIDTH - LEFT - RIGHT) / (longest or 1)
        middle = y + BAR * len(row) / 2 + 4
        parts.append(_text(LEFT - 8, middle, shortened(label, 28), ' text-anchor="end"'))
        for variant, values in row.items():
            parts += _bar(y, values, scale, _colour(table, variant))
            y += BAR
        y += GAP
    parts.append(_line((LEFT, HEADING - 4, LEFT, y - GAP + 4), INK))
    return parts, int(y)


def _bar(y: float, values: Sequence[float], scale: float, colour: str) -> list[str]:
    middle = statistics.median(values)
    height = BAR - 3
    size = f'width="{middle * scale:.1f}" height="{height}"'
    parts = [f'<rect x="{LEFT}" y="{y:.1f}" {size} fill="{colour}"/>']
    if len(values) > 1:
        ends = (LEFT + min(values) * scale, LEFT + max(values) * scale)
        parts.append(_line((ends[0], y + height / 2, ends[1], y + height / 2), INK))
    parts.append(_text(LEFT + max(values) * scale + 5, y + height - 2, number(middle)))
    return parts


def _lines(table: Table) -> tuple[list[str], int]:
    """A line for each variant through the medians, from nought on both axes."""
    numbers = [float(row) for row in table.rows]
    tallest = max(
        statistics.median(values) for row in table.rows.values() for values in row.values()
    )
    top, right = steps(tallest), steps(max(numbers))
    bottom = HEADING + CHART
    across, up = (WIDTH - LEFT - RIGHT) / right[-1], CHART / top[-1]
    parts = []
    for value in top:
        y = bottom - value * up
        parts.append(_line((LEFT, y, WIDTH - RIGHT, y)))
        parts.append(_text(LEFT - 8, y + 4, tick(value), ' text-anchor="end"'))
    for value in right:
        x = LEFT + value * across
        parts.append(_text(x, bottom + 18, tick(value), ' text-anchor="middle"'))
    parts.append(_text(WIDTH - RIGHT + 18, bottom + 18, shortened(table.series, 10)))
    for variant in table.variants:
        points = [
            (LEFT + float(row) * across, bottom - statistics.median(found[variant]) * up)
            for row, found in table.rows.items()
            if variant in found
        ]
        parts += _course(points, _colour(table, variant))
    return parts, bottom + 30


def _course(points: list[tuple[float, float]], colour: str) -> list[str]:
    course = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [f'<polyline points="{course}" fill="none" stroke="{colour}" stroke-width="2"/>']
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return parts


def steps(most: float) -> list[float]:
    """Round numbers from 0 to at least `most`, for the marks of an axis: four to ten of them."""
    if most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** int(f"{most:e}".partition("e")[2])
    step = next(part * power for part in (0.2, 0.5, 1.0, 2.0) if most / (part * power) <= 6)
    count = -int(-most // step) or 1
    return [step * index for index in range(count + 1)]


def tick(value: float) -> str:
    """A round number, without a fraction that says nothing."""
    return f"{value:.6g}"
