"""Shared by the fuzzers: the number of cases, hostile texts, and the command line from outside.

Continuous integration runs a bounded number of cases. Any number: pytest tests/security --fuzz N.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck
from hypothesis import strategies as st

from ganglion.cli.main import main
from ganglion.files.file import File
from tests.syntax import Directive, Unreadable, read

Test = TypeVar("Test", bound=Callable[..., Any])

# A name that only a text that breaks out of its place can make.
MARK = "brokenout"
# Ends of lines, words, values and blocks in the syntaxes of the rendered files.
BREAKS = (
    "\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\0", ";", "; ", "}\n",
    ";\n}\n",
    '"', "'", '";\n', "';\n", "\\\n", '\\"\n', "\n[", "]\n", "%", "%(ENV_PATH)s\n", "${", "$", "{{",
    "#\n", " #", "\n  ", ": ", "\n- ", ",", "|", "\t", "`", "*", "&a ", "!!str ",
)  # fmt: skip


class Cases:
    """The number of cases that --fuzz asks for; None for the number of each fuzzer itself."""

    wanted: int | None = None


def fuzz(cases: int) -> Callable[[Test], Test]:
    """Run a test of hypothesis with so many cases, or as many as --fuzz says."""
    return hypothesis.settings(
        max_examples=Cases.wanted or cases,
        suppress_health_check=[*HealthCheck],
    )


# Texts that, behind another one, add a line or a word to a file that does not quote them.
BEHIND = st.tuples(st.sampled_from(BREAKS), st.sampled_from(("", " 1", ";", ": 1", "=1"))).map(
    lambda parts: f"{parts[0]}{MARK}{parts[1]}"
)


def broken_out() -> st.SearchStrategy[str]:
    """Such texts behind the beginnings of values."""
    begins = st.sampled_from(("", "x", "/x", "example.org", "yes", "1", "10.0.0.0/8", "@a:b"))
    return st.tuples(begins, BEHIND).map("".join)


class Outcome:
    """The status and the output of a run of the command line."""

    def __init__(self, *arguments: str, environ: Mapping[str, str]) -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                self.status = main(arguments, dict(environ))
            except SystemExit as ended:
                self.status = int(ended.code or 0)
        self.out, self.err = out.getvalue(), err.getvalue()


def state(directory: Path) -> dict[str, tuple[int, int]]:
    """Every path below a directory with its mode and time of change."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_mtime_ns)
    return found


def holds_up(place: Path, environ: Mapping[str, str], *, marked: bool = True) -> Outcome:
    """Check and render a configuration in `place`, and assert that it is used or refused.

    That is: no exception, status 0 or 2, the reasons of a refusal, nothing written by it, and no
    line or word in a rendered file that a text in the input has made. With `marked` False, texts
    may be names.
    """
    before = state(place)
    checked = Outcome("check", environ=environ)
    assert checked.status in (0, 2), checked.err
    assert "Traceback" not in checked.err
    assert state(place) == before
    if checked.status == 2:
        assert "    fix: " in checked.err
    files = place / "rendered"
    rendered = Outcome("render", "--output", str(files), environ=environ)
    # `check` also tries what the files name.
    assert rendered.status in ((0,) if checked.status == 0 else (0, 2)), rendered.err
    if rendered.status == 2:
        assert state(place) == before
        return checked
    for path in files.rglob("*"):
        if path.is_file() and path.name != ".rendered":
            name = str(path.relative_to(files))
            found = list(names(_read(File(path=name, content=path.read_text(encoding="utf-8")))))
            assert not (marked and [word for word in found if MARK in word]), path.read_text()
    return checked


def _read(file: File) -> Any:
    try:
        return read(file)
    except KeyError as error:
        raise Unreadable(f"no reader for {file.path}") from error


def names(value: Any) -> Iterator[str]:
    """The names in a file: its directives, sections, options and keys, without their values."""
    if isinstance(value, Directive):
        for directive in value.block or ():
            yield directive.name
            # Rows of these are values: patterns, networks.
            if directive.name not in ("map", "geo"):
                yield from names(directive)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from names(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            if isinstance(item, list) and item and isinstance(item[0], str):
                yield item[0]
            else:
                yield from names(item)
