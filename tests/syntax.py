"""Readers of the rendered files: they split each into directives and values as its program does.

So a test can state that a value is in its place and nowhere else. crossplane reads nginx's files
and supervisord's own parser its file; the others are small readers after each program's lexer.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import crossplane
import yaml
from supervisor.options import UnhosedConfigParser

from ganglion.files.file import File


class Unreadable(ValueError):
    """The text is no configuration of its program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """A directive of nginx: its words, and the directives in its braces if it has them."""

    words: tuple[str, ...]
    block: "tuple[Directive, ...] | None" = None

    @property
    def name(self) -> str:
        return self.words[0]

    def all(self, *path: str) -> "Iterator[Directive]":
        """Every directive below this one, by the names of the blocks that it is in."""
        for directive in self.block or ():
            if directive.name == path[0]:
                if len(path) == 1:
                    yield directive
                else:
                    yield from directive.all(*path[1:])


ESCAPE = re.compile(r"\\([\"'\\trn])")
ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}


def nginx(text: str) -> Directive:
    """Read an nginx.conf. Returns a directive without words. Raises Unreadable.

    crossplane leaves escapes in words, which nginx undoes: ngx_conf_read_token in ngx_conf_file.c.
    """
    with tempfile.NamedTemporaryFile(suffix=".conf") as file:
        file.write(text.encode())
        file.flush()
        # Which directives are allowed where, nginx itself says in tests/live.
        found = crossplane.parse(file.name, single=True, check_ctx=False, check_args=False)
    if found["errors"]:
        raise Unreadable("; ".join(error["error"] for error in found["errors"]))
    return Directive(words=(), block=_directives(found["config"][0]["parsed"]))


def _directives(parsed: Iterable[Mapping[str, Any]]) -> tuple[Directive, ...]:
    return tuple(
        Directive(
            words=tuple(_unescaped(word) for word in (each["directive"], *each["args"])),
            block=_directives(each["block"]) if "block" in each else None,
        )
        for each in parsed
    )


def _unescaped(word: str) -> str:
    return ESCAPE.sub(lambda pair: ESCAPED.get(pair[1], pair[1]), word)


def supervisord(text: str) -> dict[str, dict[str, str]]:
    """A supervisord.conf by section and option, out of supervisord's own parser."""
    parser = UnhosedConfigParser()
    parser.read_string(text)
    return {section: dict(parser.items(section)) for section in parser.sections()}


def redis(text: str) -> list[list[str]]:
    """A redis.conf by line and word. After sdssplitargs in sds.c."""
    lines = (line.strip(" \t\r") for line in text.split("\n"))
    return [_redis_words(line) for line in lines if line and not line.startswith("#")]


REDIS_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
REDIS_WORD = re.compile(
    r'"(?P<double>(?:\\x[0-9a-fA-F]{2}|\\.|[^"\\])*)"(?=\s|$)'
    r"|'(?P<single>(?:\\'|\\(?!')|[^'\\])*)'(?=\s|$)"
    r"|(?P<plain>[^\s\"']+)",
    re.DOTALL,
)


def _redis_words(line: str) -> list[str]:
    words: list[str] = []
    rest = line
    while rest := rest.lstrip():
        found = REDIS_WORD.match(rest)
        if found is None:
            raise Unreadable(f"unbalanced quotes: {line!r}")
        if found["double"] is not None:
            words.append(re.sub(r"\\(x[0-9a-fA-F]{2}|.)", _redis_escape, found["double"]))
        elif found["single"] is not None:
            words.append(found["single"].replace("\\'", "'"))
        else:
            words.append(found["plain"])
        rest = rest[found.end() :]
    return words


def _redis_escape(found: re.Match[str]) -> str:
    code = found[1]
    if len(code) == 3:
        return chr(int(code[1:], 16))
    return REDIS_ESCAPES.get(code, code)


POSTGRESQL_LINE = re.compile(
    r"(?P<name>[A-Za-z_][\w.]*)\s*=?\s*"
    r"(?:'(?P<quoted>(?:[^'\\\n]|\\.|'')*)'|(?P<plain>[^\s'#=]+))\s*(?:\#.*)?"
)


def postgresql(text: str) -> dict[str, str]:
    """A postgresql.conf by setting. After guc-file.l."""
    settings: dict[str, str] = {}
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = POSTGRESQL_LINE.fullmatch(line)
        if found is None or found["name"] in settings:
            raise Unreadable(line)
        quoted = found["quoted"]
        settings[found["name"]] = (
            found["plain"] if quoted is None else re.sub(r"''|\\(.)", _postgresql_escape, quoted)
        )
    return settings


def _postgresql_escape(found: re.Match[str]) -> str:
    return "'" if found[0] == "''" else found[1]


def pgpass(text: str) -> list[list[str]]:
    """A password file of libpq's, by line and field. After passwordFromFile in fe-connect.c."""
    fields = [re.findall(r"(?:^|:)((?:\\.|[^:\\])*)", line) for line in text.splitlines()]
    return [[re.sub(r"\\(.)", r"\1", field) for field in line] for line in fields]


def lines(text: str) -> list[str]:
    """A file of lines, without comments."""
    return [line for line in text.split("\n") if line and not line.startswith("#")]


def read(file: File) -> Any:
    """Read a rendered file as its program does."""
    if file.path.endswith(".yaml"):
        return yaml.safe_load(file.content)
    if file.path == "secrets/pgpass":
        return pgpass(file.content)
    if file.path.startswith("secrets/"):
        return file.content
    readers: dict[str, Callable[[str], Any]] = {
        "nginx.conf": nginx,
        "maps.conf": nginx,
        "supervisord.conf": supervisord,
        "redis.conf": redis,
        "postgresql/postgresql.conf": postgresql,
        "postgresql/pg_hba.conf": lines,
        "postgresql/pg_ident.conf": lines,
        "workers": lines,
        "alive": lines,
        "control.level": yaml.safe_load,
        "upstreams.conf": nginx,
        "control.json": json.loads,
        "budget.json": json.loads,
    }
    return readers[file.path](file.content)


def read_all(files: Mapping[str, File]) -> dict[str, Any]:
    """The same for all of them, by path."""
    return {path: read(file) for path, file in files.items()}
