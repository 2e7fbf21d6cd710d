"""Tables of variables, roles and layouts, from those in the program."""

from ganglion.doctor.table import CHECKS
from ganglion.machine.limits import amount
from ganglion.settings.owned_options import OWNED
from ganglion.settings.synapse_image import SUPPORTED, UNSUPPORTED
from ganglion.settings.variable import Variable
from ganglion.settings.variables import variables
from ganglion.topology.auto import LAYOUTS
from ganglion.topology.roles import AUTO, LEGACY_APPS, PRESETS, ROLES, SHORTHANDS, Role
from scripts.documents.markdown import table

VARIABLES_PAGE = """\
<!-- Made by scripts/docs from entrypoint/ganglion/settings/variables.py; changes here are lost. -->

# Variables

An empty variable is the same as an unset one. A secret can be in a file: set its `_FILE` variable
to the path. Misspelt variables and invalid values are errors. All errors are reported together,
each with a fix, before anything starts.

Booleans are `yes` or `no`. Sizes are whole numbers with `K`, `M` or `G`, such as `50M`. Durations
are numbers with `s`, `m` or `h`.

{variables}
"""

ROLES_PAGE = """\
<!-- Made by scripts/docs from entrypoint/ganglion/topology/roles.py; changes here are lost. -->

# Roles

A role is one kind of work that a worker does instead of the main process. An entry of `WORKERS`
gives a worker one role or several: `typing`, `typing+to_device`, `name=typing+to_device`.

{roles}

## Streams

Each of these roles writes one of Synapse's streams. With a limit of 1, Synapse does not start if
two workers have the role.

{streams}

## Shorthands

A shorthand gives several roles to one worker.

{shorthands}

## Presets

A preset is a set of workers. Further entries add workers to it. An entry with the name of one of
its workers replaces that worker; `NAME:0` removes it. The default is `{default}`, which chooses a
layout that suits the machine: see [the budget](budget.md).

{presets}

## Former applications

Synapse once had an application for each kind of worker. Their names stand for the roles that
replaced them.

{applications}
"""


def check_table() -> str:
    """Every check of `ganglion doctor`."""
    rows = [(f"`{check.name}`", check.about) for check in CHECKS]
    return table(("check", "looks at"), rows)


def variable_table() -> str:
    """Every variable with its default and its meaning."""
    rows = [(_names(row), _default(row), row.doc) for _, row in variables()]
    return table(("variable", "default", "meaning"), rows)


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
        return "generated at the first start"
    if row.default is None:
        return "none"
    if isinstance(row.default, bool):
        return "`yes`" if row.default else "`no`"
    return f"`{row.default}`"


def role_table() -> str:
    """Every role with its work."""
    rows = [(f"`{role.name}`", role.doc, _how_many(role)) for role in ROLES]
    return table(("role", "work", "workers"), rows)


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
        streams=table(("role", "stream", "workers"), streams),
        shorthands=table(("word", "roles"), shorthands),
        default=AUTO,
        presets="\n\n".join(_preset(name, text) for name, text in PRESETS.items()),
        applications=table(("name", "role"), applications),
    )


def _preset(name: str, text: str) -> str:
    entries = [f"    {line.strip()}" for line in text.splitlines() if line.strip()]
    body = "\n".join(entries) or "Only the main process."
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
    return table(("from", "workers", "why"), rows)


def drop_in_table() -> str:
    """Every variable of Synapse's own images with its effect here and the differences."""
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
    return table(("variable", "here", "differences"), rows)


def _here(row: Variable, name: str) -> str:
    return row.doc if name == row.name else f"Another name of `{row.name}`. {row.doc}"


def owned_option_table() -> str:
    """Every option of Synapse that Ganglion owns, with its fate and the reason.

    Options with the same fate and reason share a row.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for row in OWNED:
        groups.setdefault((row.fate.value, row.why), []).append(f"`{row.option}`")
    rows = [(", ".join(names), fate, why) for (fate, why), names in groups.items()]
    return table(("option", "in your files it is", "because"), rows)
