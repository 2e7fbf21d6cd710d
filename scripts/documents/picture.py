"""Draw the table of routes: which requests go to the workers of which role."""

from dataclasses import dataclass
from html import escape

from ganglion.routing.table import Choice, Key, table
from ganglion.settings import environment
from ganglion.topology import topology
from ganglion.topology.names import MAIN

# Distinct without telling red from green.
COLOURS = {
    Key.NONE: "#5b6770",
    Key.USER: "#0b6bb5",
    Key.ROOM: "#b5470b",
    Key.ORIGIN: "#6a2fa0",
}
MEANING = {
    Key.NONE: "any member",
    Key.USER: "by user",
    Key.ROOM: "by room",
    Key.ORIGIN: "by origin",
}
WIDTH, LEFT, MIDDLE, RIGHT = 900, 20, 440, 600
LINE, GAP, TOP = 17, 16, 74


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The rows whose first role is the same, and the roles that take over."""

    role: str
    choices: tuple[Choice, ...]

    @property
    def height(self) -> int:
        return LINE * len(self.choices) + 12

    @property
    def stand_ins(self) -> str:
        """The roles that answer if no worker has the role, or all its workers are down."""
        others = dict.fromkeys(
            role
            for choice in self.choices
            for role in choice.route.roles
            if role != self.role and not choice.route.writers_only
        )
        only = all(choice.route.writers_only for choice in self.choices)
        if self.role == MAIN:
            return "requests that no row matches"
        return "no fallback" if only else f"else {', '.join((*others, MAIN))}"


def draw() -> str:
    """Draw the table as SVG, with every role on its own worker."""
    layout = topology.build(environment.from_environ({"WORKERS": "full"}, str))
    choices = table(layout)
    roles = dict.fromkeys(choice.pool.name for choice in choices)
    groups = [
        Group(role=role, choices=tuple(item for item in choices if item.pool.name == role))
        for role in roles
    ]
    height = TOP + sum(group.height + GAP for group in groups) + 10
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_heading(),
    ]
    y = TOP
    for group in groups:
        parts += _group(group, y)
        y += group.height + GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: int, y: int, text: str, colour: str = "#1c2328", extra: str = "") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}"{extra}>{escape(text)}</text>'


def _heading() -> list[str]:
    bold = ' font-weight="bold"'
    parts = [
        _text(LEFT, 26, "rows of the table, in order within each box", extra=bold),
        _text(RIGHT, 26, "the role whose workers serve them", extra=bold),
    ]
    x = LEFT
    for key, colour in COLOURS.items():
        parts.append(f'<circle cx="{x + 5}" cy="46" r="5" fill="{colour}"/>')
        parts.append(_text(x + 15, 50, MEANING[key], colour))
        x += 105
    return parts


def _group(group: Group, y: int) -> list[str]:
    middle = y + group.height // 2
    box = f'height="{group.height}" rx="6" fill="#f4f6f8" stroke="#c5ccd3"'
    parts = [
        f'<rect x="{LEFT}" y="{y}" width="{MIDDLE - LEFT}" {box}/>',
        (
            f'<rect x="{RIGHT}" y="{middle - 19}" width="{WIDTH - RIGHT - 20}" height="38" rx="6" '
            'fill="#e4ecf4" stroke="#8aa0b4"/>'
        ),
        _text(RIGHT + 12, middle - 3, group.role, extra=' font-weight="bold"'),
        _text(RIGHT + 12, middle + 13, group.stand_ins, "#5b6770", ' font-size="11"'),
    ]
    for number, choice in enumerate(group.choices):
        line = y + 6 + LINE * number
        colour = COLOURS[choice.route.key]
        methods = ", ".join(choice.route.methods)
        parts.append(f'<circle cx="{LEFT + 14}" cy="{line + 9}" r="4" fill="{colour}"/>')
        parts.append(_text(LEFT + 26, line + 13, choice.route.name))
        parts.append(_text(LEFT + 260, line + 13, methods, "#5b6770", ' font-size="11"'))
        parts.append(
            f'<path d="M {MIDDLE} {line + 9} C {MIDDLE + 70} {line + 9}, {RIGHT - 70} {middle}, '
            f'{RIGHT} {middle}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
        )
    return parts
