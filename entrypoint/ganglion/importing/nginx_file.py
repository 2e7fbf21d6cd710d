"""Read nginx's configuration: words, blocks and includes, as ngx_conf_file.c does.

crossplane does this too. It is not used here: it leaves escapes in words, reads a pipe for ever and
a circle of includes without end. See docs/decisions/0038.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ganglion.errors import ConfigError, Problem, reason
from ganglion.importing.looking import exists, matching
from ganglion.settings.reading import LARGEST_FILE, read_text

# nginx has no limit, and no configuration comes near.
DEEPEST = 20
MOST_DIRECTIVES = 100_000
ESCAPES = {"t": "\t", "r": "\r", "n": "\n", '"': '"', "'": "'", "\\": "\\"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """A directive with its words and, if it has a block, the directives in it."""

    name: str
    words: tuple[str, ...]
    block: tuple["Directive", ...] = ()
    where: str = ""

    def all(self, name: str) -> Iterator["Directive"]:
        """Yield the directives of a name in the block itself."""
        return (item for item in self.block if item.name == name)


@dataclass(slots=True)
class _Reading:
    """The files that are being read, for circles, and the remarks."""

    root: Path
    notes: list[str] = field(default_factory=list)
    number: int = 0


def read(path: Path) -> tuple[Directive, list[str]]:
    """Return the whole file as one block, with its includes, and remarks.

    Raises ConfigError for a file that cannot be read, or that nginx would not read.
    """
    reading = _Reading(root=path.parent)
    block = _file(path, reading, ())
    return Directive(name="", words=(), block=tuple(block), where=str(path)), reading.notes


def _file(path: Path, reading: _Reading, above: tuple[Path, ...]) -> list[Directive]:
    real = path.resolve() if exists(path) else path
    if real in above:
        message = f"is included by itself, through {' and '.join(map(str, above))}"
        raise _error(str(path), message, "remove the include")
    try:
        text = read_text(path, LARGEST_FILE)
    except UnicodeDecodeError as error:
        raise _error(str(path), "is not text in UTF-8", "give nginx's configuration") from error
    except (OSError, ValueError) as error:
        message = f"cannot be read: {reason(error)}"
        raise _error(str(path), message, "give nginx's configuration") from error
    words = _words(text, str(path))
    return _block(words, path, reading, (*above, real), 0)


def _block(
    words: Iterator[tuple[str, bool, int]],
    path: Path,
    reading: _Reading,
    above: tuple[Path, ...],
    depth: int,
) -> list[Directive]:
    """Read directives until the block ends, or the file for depth 0."""
    found: list[Directive] = []
    current: list[str] = []
    for word, quoted, number in words:
        where = f"{path}:{number}"
        if quoted or word not in ("{", "}", ";"):
            current.append(word)
            continue
        if word == "}" and depth and not current:
            return found
        if word == "}" or not current:
            raise _error(where, f"has an unexpected {word}", "correct the file")
        reading.number += 1
        if reading.number > MOST_DIRECTIVES or depth > DEEPEST:
            raise _error(where, "is too large or nested too deeply", "give a smaller part of it")
        name, *rest = current
        current = []
        block = _block(words, path, reading, above, depth + 1) if word == "{" else []
        if name == "include" and rest:
            for item in _included(rest[0], reading, where):
                found.extend(_file(item, reading, above))
        else:
            found.append(Directive(name=name, words=tuple(rest), block=tuple(block), where=where))
    if depth or current:
        message = 'ends inside of a directive or a block, without ";" or "}"'
        raise _error(str(path), message, "correct the file")
    return found


def _included(pattern: str, reading: _Reading, where: str) -> list[Path]:
    """Return the files of an include. nginx looks below the directory of its main file."""
    if any(sign in pattern for sign in "*?["):
        start = Path("/") if pattern.startswith("/") else reading.root
        return matching(start, pattern)
    places = [Path(pattern)] if pattern.startswith("/") else []
    if not places:
        # The file of a site is in a directory below that one.
        places = [Path(place, pattern) for place in (reading.root, *reading.root.parents[:2])]
    here = next((path for path in places if exists(path)), None)
    if here is None:
        reading.notes.append(f"{where}: the included file {pattern} is not there, and is left out")
        return []
    return [here]


def _words(text: str, path: str) -> Iterator[tuple[str, bool, int]]:
    """Yield each word with whether it was quoted, and its line: ngx_conf_read_token."""
    place, line, length = 0, 1, len(text)
    while place < length:
        sign = text[place]
        if sign in " \t\r\n\ufeff":
            line += sign == "\n"
            place += 1
        elif sign == "#":
            while place < length and text[place] != "\n":
                place += 1
        elif sign in "{};":
            yield sign, False, line
            place += 1
        else:
            began = line
            quote = sign if sign in "\"'" else ""
            place += bool(quote)
            word, place, line = _word(text, place, quote, line)
            if quote and (place > length or text[place - 1] != quote):
                raise _error(f"{path}:{began}", f"has no closing {quote}", "correct the file")
            yield word, bool(quote), began


def _word(text: str, place: int, quote: str, line: int) -> tuple[str, int, int]:
    """Read one word, with its escapes undone. Returns it, the place after it, and the line."""
    parts: list[str] = []
    while place < len(text):
        sign = text[place]
        if sign == "\\" and place + 1 < len(text):
            following = text[place + 1]
            # Other escapes stay: those of regular expressions.
            parts.append(ESCAPES.get(following, sign + following))
            line += following == "\n"
            place += 2
            continue
        if quote:
            if sign == quote:
                return "".join(parts), place + 1, line
        elif sign in " \t\r\n;" or (sign == "{" and text[place - 1] != "$"):
            break
        parts.append(sign)
        line += sign == "\n"
        place += 1
    return "".join(parts), place + (1 if quote else 0), line


def _error(where: str, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(variable=where, value=None, message=message, hint=hint)])
