"""The picture of the processes, drawn from the program's own list of them."""

from html import escape

from ganglion.plan import assemble
from ganglion.programs import registry
from ganglion.programs.program import Program

# The preset in the picture: each kind of process, and few enough to read.
PRESET = "small"
WIDTH, HEIGHT = 960, 610
# The supervisor's column, then the column of everything that it starts.
LEFT, MIDDLE, RIGHT = 30, 245, 930
INK, FAINT = "#1c2328", "#5b6770"
HTTP, REDIS, SQL = "#0b6bb5", "#b5470b", "#6a2fa0"
ROW = {"nginx": 120, "synapse": 230, "servers": 430}
TALL = {"nginx": 50, "synapse": 130, "servers": 50}

SUPERVISOR = (
    "one process, PID 1:",
    "supervisord, with Synapse",
    "imported once",
    "",
    "forks main and the workers,",
    "executes the others",
    "",
    "starts each when all that it",
    "needs is ready: 1, 2, 3, 4",
    "",
    "restarts each that ends",
    "",
    "writes the lines of all to",
    "stdout, with their names",
)


def draw() -> str:
    """Return an SVG of the processes of a preset and of their connections."""
    plan = assemble(
        {"WORKERS": PRESET, "GANGLION_MEMORY": "4G", "GANGLION_CPUS": "2", "GANGLION_DATA": "/none"}
    )
    programs = registry.programs(plan)
    stage = stages(programs)
    roles = {process.name: process.roles for process in plan.topology.processes}
    synapse = [program.name for program in programs if program.name in roles]
    servers = [name for name in stage if name not in roles and name not in ("nginx", "control")]
    width = (RIGHT - MIDDLE - 10 * (len(synapse) - 1)) // len(synapse)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="13">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_frame(),
        *_box(MIDDLE, "nginx", RIGHT - MIDDLE - 190, f"{stage['nginx']}  nginx"),
        *_box(RIGHT - 180, "nginx", 180, f"{stage['control']}  control"),
        _text(RIGHT - 168, ROW["nginx"] + 38, "readiness, metrics", 11),
        _text(MIDDLE + 12, ROW["nginx"] + 38, "sends each request on by the table of routes", 11),
    ]
    for number, name in enumerate(synapse):
        x = MIDDLE + number * (width + 10)
        parts += _box(x, "synapse", width, f"{stage[name]}  {name}")
        lines = roles[name] or ("all other requests", "and jobs")
        parts += [
            _text(x + 10, ROW["synapse"] + 40 + 15 * line, text, 11)
            for line, text in enumerate(lines)
        ]
        middle = x + width // 2
        parts.append(_line(middle, _bottom("nginx"), middle, ROW["synapse"], HTTP, arrow=True))
        for server, colour, side in (("redis", REDIS, -12), ("postgres", SQL, 12)):
            target = _server_middle(servers, server)
            parts.append(_line(middle + side, _bottom("synapse"), target, ROW["servers"], colour))
    share = (RIGHT - MIDDLE - 10) // len(servers)
    for number, name in enumerate(servers):
        x = MIDDLE + number * (share + 10)
        parts += _box(x, "servers", share, f"{stage[name]}  {name}")
        note = {"redis": "replication between processes", "postgres": "the database"}[name]
        parts.append(_text(x + 12, ROW["servers"] + 38, note, 11))
    return "\n".join([*parts, *_data(), "</svg>"]) + "\n"


def stages(programs: tuple[Program, ...]) -> dict[str, int]:
    """Return for each program the step of the start in which it can run, from 1."""
    found: dict[str, int] = {}
    for program in programs:
        found[program.name] = 1 + max((found[name] for name in program.needs), default=0)
    return found


def _server_middle(servers: list[str], name: str) -> int:
    share = (RIGHT - MIDDLE - 10) // len(servers)
    return MIDDLE + servers.index(name) * (share + 10) + share // 2


def _bottom(row: str) -> int:
    return ROW[row] + TALL[row]


def _frame() -> list[str]:
    arrow = (
        '<defs><marker id="arrow" markerWidth="8" markerHeight="8" refX="7" refY="4" '
        f'orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="{HTTP}"/></marker></defs>'
    )
    top, bottom = ROW["nginx"], _bottom("servers")
    middle = (MIDDLE + RIGHT) // 2
    return [
        arrow,
        _text(MIDDLE + 130, 28, "clients, other homeservers, a reverse proxy in front", bold=True),
        _line(middle, 38, middle, top, HTTP, arrow=True),
        _text(middle + 12, 62, "HTTP 8008, HTTPS 8448", 11),
        (
            f'<rect x="12" y="80" width="{WIDTH - 24}" height="{bottom - 50}" rx="8" '
            f'fill="none" stroke="{FAINT}" stroke-dasharray="6 4"/>'
        ),
        _text(24, 100, "one container, or one machine", 11),
        (
            f'<rect x="{LEFT}" y="{top}" width="190" height="{bottom - top}" rx="6" '
            'fill="#eef3ea" stroke="#7d9a6a"/>'
        ),
        _text(LEFT + 12, top + 22, "supervisor", bold=True),
        *(
            _text(LEFT + 12, top + 46 + 17 * number, line, 11)
            for number, line in enumerate(SUPERVISOR)
        ),
    ]


def _box(x: int, row: str, width: int, title: str) -> list[str]:
    colours = {"nginx": "#e4ecf4", "synapse": "#f4f6f8", "servers": "#f6efe6"}
    return [
        (
            f'<rect x="{x}" y="{ROW[row]}" width="{width}" height="{TALL[row]}" rx="6" '
            f'fill="{colours[row]}" stroke="#8aa0b4"/>'
        ),
        _text(x + 10, ROW[row] + 20, title, bold=True),
    ]


def _data() -> list[str]:
    y = _bottom("servers") + 60
    return [
        (
            f'<rect x="{MIDDLE}" y="{y}" width="{RIGHT - MIDDLE}" height="44" rx="6" '
            f'fill="#ffffff" stroke="{FAINT}"/>'
        ),
        _text(MIDDLE + 10, y + 18, "/data", bold=True),
        _text(
            MIDDLE + 10,
            y + 35,
            "postgres/, media_store/, secrets/, the signing key, and your own files",
            11,
        ),
        _text(LEFT, y + 18, "persists; all else is", 11),
        _text(LEFT, y + 35, "written anew at each start", 11),
    ]


def _line(x: int, y: int, to_x: int, to_y: int, colour: str, *, arrow: bool = False) -> str:
    end = ' marker-end="url(#arrow)"' if arrow else ""
    return (
        f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="{colour}" '
        f'stroke-width="1.2"{end}/>'
    )


def _text(x: int, y: int, text: str, size: int = 13, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    colour = INK if size == 13 else FAINT
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}"{weight}>{escape(text)}</text>'
