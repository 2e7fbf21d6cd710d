"""Markdown: tables, and the places in a page where they go."""

import re
from collections.abc import Mapping, Sequence


def table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Format a table."""
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def fill(text: str, tables: Mapping[str, str]) -> str:
    """Put each table between the markers `<!-- NAME -->` and `<!-- /NAME -->` of its name.

    Text without the markers of a table stays as it is.
    """
    for name, content in tables.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        # split, as sub would interpret backslashes in the table.
        outside = re.split(f"{opening}.*?{closing}", text, flags=re.DOTALL)
        text = f"{opening}\n{content}\n\n{closing}".join(outside)
    return text
