"""Print an import: for people, and as values for JSON. Values of options are secret or long."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from ganglion.importing.findings import Fate
from ganglion.importing.imported import Imported, counts

OPTIONS_FILE = "homeserver.d/imported.yaml"
# Variables whose value is never printed.
SECRET = ("PASSWORD", "SECRET", "KEY", "TOKEN")


def as_text(found: Imported) -> str:
    """Format the report: WORKERS, variables, workers, the options left, and every option."""
    return "\n\n".join("\n".join(part) for part in _parts(found))


def _parts(found: Imported) -> Iterator[list[str]]:
    yield ["VARIABLES", *(f"  {name}={value}" for name, value in shown(found).items())]
    if found.names:
        yield [
            "WORKERS",
            *(
                f"  {old}{'' if old == new else f' becomes {new}'}: {', '.join(found.roles[new])}"
                for old, new in found.names.items()
            ),
        ]
    if found.kept:
        yield [f"LEFT FOR {OPTIONS_FILE}", *(f"  {key}" for key in found.kept)]
    for source, items in groupby(found.findings, key=lambda item: item.source):
        rows = list(items)
        width = max(len(row.key) for row in rows)
        fate = max(len(row.fate.value) for row in rows)
        yield [
            source,
            *(f"  {row.key:<{width}}  {row.fate.value:<{fate}}  {row.text}" for row in rows),
        ]
    numbers = counts(found.findings)
    yield [
        f"{len(found.findings)} options: "
        + ", ".join(f"{numbers[fate.value]} {fate.value}" for fate in Fate)
    ]


def shown(found: Imported) -> dict[str, str]:
    """Return the variables with secrets replaced by a hint."""
    return {
        name: "(as before)" if _is_secret(name) else value
        for name, value in found.variables.items()
    }


def _is_secret(name: str) -> bool:
    return any(word in name for word in SECRET) and not name.endswith("_FILE")


def as_json(found: Imported) -> dict[str, Any]:
    """Return the same as values for JSON."""
    return {
        "server_name": found.server_name,
        "workers": found.workers,
        "variables": shown(found),
        "names": dict(found.names),
        "roles": {name: list(roles) for name, roles in found.roles.items()},
        "left": list(found.kept),
        "options": [
            {
                "file": item.source,
                "key": item.key,
                "fate": item.fate.value,
                "text": item.text,
            }
            for item in found.findings
        ],
        "notes": list(found.notes),
    }
