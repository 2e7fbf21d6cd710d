"""The tables of variables and roles, out of the program's own."""

import re
from collections.abc import Sequence

from ganglion.machine.limits import amount
from ganglion.settings.synapse_image import SUPPORTED, UNSUPPORTED
from ganglion.settings.variable import Variable
from ganglion.settings.variables import variables
from ganglion.topology.auto import LAYOUTS
from ganglion.topology.roles import AUTO, LEGACY_APPS, PRESETS, ROLES, SHORTHANDS, Role

VARIABLES_PAGE = """\
<!-- Made by scripts/docs out of entrypoint/ganglion/settings.py; changes here are lost. -->

# Variables

An empty variable counts as not set. Every secret can come from the file that its `_FILE` variable
names. A misspelt variable is an error, and so is a value that cannot be: all problems are told at
once, and nothing starts.

Booleans are `yes` or `no`. Sizes are whole numbers with `K`, `M` or `G` behind them, durations
numbers with `s`, `m` or `h`.

{variables}
"""

ROLES_PAGE = """\
<!-- Made by scripts/docs out of entrypoint/ganglion/roles.py; changes here are lost. -->

# Roles

A role is one kind of work that a worker takes off the main process. An entry of `WORKERS` gives
one role or several to a worker: `typing`, `typing+to_device`, `name=typing+to_device`.

{roles}

## Streams

These roles write one of Synapse's streams. Of some only one worker may be the writer: Synapse
refuses to start with more.

{streams}

## Shorthands

One word for several roles on one worker.

{shorthands}

## Presets

A whole set of workers. Entries beside it are added to it, an entry with the name of one of its own
takes that one's place, and `NAME:0` drops it. Without `WORKERS` it is `{default}`, which stands for
the layout that suits the machine: see [the budget](budget.md).

{presets}

## Former applications

Synapse once had an application for each kind of worker. Their names are taken for the roles that
they mean now.

{applications}
"""


def markdown(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def variable_table() -> str:
    """Every variable with its default and what it is."""
    rows = [(_names(row), _default(row), row.doc) for _, row in variables()]
    return markdown(("variable", "default", "what it is"), rows)


def _names(row: Variable) -> str:
    names = [f"`{row.name}`", *(f"or `{alias}`" for alias in row.aliases)]
    if row.secret:
        names.append(f"or `{row.name}_FILE`")
    names += [f"or, in test mode, `{alias}`" for alias in row.test_mode_aliases]
    return " ".join(names)


def _default(row: Variable) -> str:
    if row.shown_default is not None:
        return row.shown_default
    if row.secret:
        return "made at the first start"
    if row.default is None:
        return "none"
    if isinstance(row.default, bool):
        return "`yes`" if row.default else "`no`"
    return f"`{row.default}`"


def role_table() -> str:
    """Every role with what it does."""
    rows = [(f"`{role.name}`", role.doc, _how_many(role)) for role in ROLES]
    return markdown(("role", "what it does", "workers"), rows)


def _how_many(role: Role) -> str:
    return "any number" if role.limit is None else f"{role.limit}"


def variables_page() -> str:
    """docs/variables.md."""
    return VARIABLES_PAGE.format(variables=variable_table())


def roles_page() -> str:
    """docs/roles.md."""
    streams = [
        (f"`{role.name}`", f"`{role.stream}`", _how_many(role)) for role in ROLES if role.stream
    ]
    shorthands = [
        (f"`{word}`", ", ".join(f"`{role}`" for role in roles))
        for word, roles in SHORTHANDS.items()
    ]
    applications = [(f"`{name}`", f"`{role}`") for name, role in LEGACY_APPS.items()]
    return ROLES_PAGE.format(
        roles=role_table(),
        streams=markdown(("role", "stream", "workers"), streams),
        shorthands=markdown(("word", "roles"), shorthands),
        default=AUTO,
        presets="\n\n".join(_preset(name, text) for name, text in PRESETS.items()),
        applications=markdown(("name", "role"), applications),
    )


def _preset(name: str, text: str) -> str:
    entries = [f"    {line.strip()}" for line in text.splitlines() if line.strip()]
    body = "\n".join(entries) or "Main alone."
    return f"### {name}\n\n{body}"


def layout_table() -> str:
    """Every layout of WORKERS=auto."""
    rows = [
        (
            f"{layout.cpus:g} CPUs, {amount(layout.memory)}" if layout.cpus else "any",
            f"`{', '.join(layout.workers.split()) or 'none'}`",
            layout.why,
        )
        for layout in LAYOUTS
    ]
    return markdown(("from", "workers", "why"), rows)


def drop_in_table() -> str:
    """Every variable of Synapse's own images with what it does here, and what is different."""
    by_name = {name: row for _, row in variables() for name in (*row.names, *row.test_mode_aliases)}
    rows = [
        (f"`{name}`", _here(by_name[name], name), difference or "-")
        for name, difference in SUPPORTED
    ]
    rows += [
        (
            f"`{variable.name}`",
            f"Rejected: {variable.why}. Instead: {variable.fix}."
            if variable.fix
            else f"Ignored: {variable.why}.",
            f"`{variable.harmless}` is accepted" if variable.harmless else "-",
        )
        for variable in UNSUPPORTED
    ]
    return markdown(("variable", "here", "what is different"), rows)


def _here(row: Variable, name: str) -> str:
    return row.doc if name == row.name else f"Another name of `{row.name}`. {row.doc}"


def filled(text: str, name: str, table: str) -> str:
    """A text with a table between the markers of a name, where it has them."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text)
