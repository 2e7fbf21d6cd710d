"""Make findings safe to print: no secret, and no control character from outside."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ganglion.doctor.finding import Finding
from ganglion.doctor.place import Place
from ganglion.doctor.runner import Result
from ganglion.settings.reading import LARGEST_SECRET, read_text
from ganglion.settings.variables import variables

# Options of Synapse, and of everything in its files, whose value is a secret.
SECRET = re.compile(
    r"secret|passw|_pass$|^pass$|token|_key$|^key$|macaroon|credential|pepper", re.IGNORECASE
)
HIDDEN = "<secret>"
# Shorter texts are in too many words.
SHORTEST = 6
# user:password@ in a URL.
IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@")
LONGEST = 1000


def safe(results: Iterable[Result], hidden: Iterable[str]) -> tuple[Result, ...]:
    """Return the results with secrets hidden and control characters escaped."""
    # Longest first: one secret may be a part of another.
    texts = sorted(set(hidden), key=len, reverse=True)

    def clean(text: str) -> str:
        for secret in texts:
            text = text.replace(secret, HIDDEN)
        return escaped(IN_URL.sub(rf"\1{HIDDEN}@", text))

    return tuple(
        replace(result, findings=tuple(_clean(item, clean) for item in result.findings))
        for result in results
    )


def _clean(finding: Finding, clean: Callable[[str], str]) -> Finding:
    return replace(
        finding,
        message=clean(finding.message),
        means=clean(finding.means),
        fix=tuple(clean(line) for line in finding.fix),
    )


def escaped(text: str) -> str:
    """Return one line without control, bidirectional or other invisible characters."""
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text[:LONGEST]
    )
    return shown + ("…" if len(text) > LONGEST else "")


def secrets_of(place: Place) -> frozenset[str]:
    """Return every secret that this account can read: none of them may be printed."""
    found = [
        str(value)
        for name, variable in variables()
        if variable.secret and (value := getattr(place.settings, name))
    ]
    found += in_options(place.operator.options)
    for directory in (place.settings.paths.kept_secrets, place.settings.paths.secret("")):
        found += _in_files(Path(directory))
    found += [str(value) for name, value in place.settings.postgres_args if SECRET.search(name)]
    return frozenset(text for item in found for text in _forms(item) if len(text) >= SHORTEST)


def in_options(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from in_options(item, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from in_options(item, name)
    elif isinstance(value, str) and SECRET.search(name) and not name.endswith("_path"):
        yield value


def _in_files(directory: Path) -> Iterator[str]:
    try:
        paths = list(directory.iterdir())
    except OSError:
        return
    for path in paths:
        try:
            yield read_text(path, LARGEST_SECRET)
        except (OSError, ValueError):
            continue


def _forms(text: str) -> Iterator[str]:
    text = text.strip()
    yield text
    # The last words of a signing key's file, and of a .pgpass.
    yield text.rpartition(" ")[2]
    yield text.rpartition(":")[2]
