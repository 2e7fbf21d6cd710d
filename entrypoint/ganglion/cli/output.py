"""How verbs print: tables and JSON on standard output, notes on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence


def columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table. Each column is as wide as its widest cell."""
    table = [titles, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(titles))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def print_json(value: object) -> None:
    """Print a value that a program reads."""
    print(json.dumps(value, indent=2))


def print_notes(notes: Iterable[str]) -> None:
    """Print remarks on a configuration that works, beside the result."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
