"""Write results into pages of docs, so that no figure there is typed by hand."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.plot import draw
from benchmarks.results import Result, cells
from scripts.documents.markdown import fill

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"[a-z0-9-]+")


def section(name: str, result: Result) -> str:
    """One result: the figures, then the machine, the date and the command."""
    parts = [f"![{result.title}](performance-{name}.svg)", result.note]
    for table in result.tables:
        titles, rows = cells(table)
        ruler = ["---", *["---:" for _ in titles[1:]]]
        body = "\n".join(_row(row) for row in [titles, ruler, *rows])
        parts.append(f"{table.title}, {table.unit}:\n\n{body}")
    on = ", ".join(f"{key} {value}" for key, value in result.machine.items())
    parts.append(f"Measured {result.date} by\n\n    {result.command}\n\non {on}.")
    return "\n\n".join(parts)


def _row(row: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def page(text: str, found: Mapping[str, Result]) -> str:
    """The page with these results between the markers of their names.

    A name without markers gets a heading and a pair of them at the end.
    """
    for name, result in found.items():
        if f"<!-- {name} -->\n" not in text:
            empty = f"<!-- {name} -->\n<!-- /{name} -->\n"
            text = f"{text.rstrip()}\n\n## {result.title}\n\n{empty}"
        text = fill(text, {name: section(name, result)})
    return text


def write(docs: Path, files: Sequence[Path]) -> list[Path]:
    """Fill the pages and draw a plot for each file. Returns the paths written.

    The name of a file without its ending is the name of its part of reliability.md, if that page
    has such a part, and of performance.md otherwise. Raises ValueError for a name that cannot be
    one.
    """
    found = {file.stem: Result.load(file.read_text(encoding="utf-8")) for file in files}
    for name in found:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name}.json: only lower-case letters, digits and - in a name")
    other, main_page = docs / "reliability.md", docs / "performance.md"
    text = other.read_text(encoding="utf-8") if other.exists() else ""
    there = {name: result for name, result in found.items() if f"<!-- {name} -->\n" in text}
    rest = {name: result for name, result in found.items() if name not in there}
    texts = {}
    if there:
        texts[other] = page(text, there)
    if rest:
        texts[main_page] = page(main_page.read_text(encoding="utf-8"), rest)
    texts |= {docs / f"performance-{name}.svg": draw(result) for name, result in found.items()}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench report", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="NAME.json")
    options = parser.parse_args(words)
    for path in write(ROOT / "docs", options.files):
        print(f"wrote {path}")
    return 0
