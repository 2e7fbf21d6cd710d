"""Make requests from the oracle's patterns, in the spellings that clients use."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

HERE = Path(__file__).resolve().parent
V12_ROOM = "!yXQ1v3lVSmZq3kDTFd2sZbmzDNyBjXmR6UOnrBGSxHM"
ROOMS = (
    "%21abc%3Aexample.org",
    "!abc:example.org",
    "!abc%3aexample.org",
    "%21abc:example.org",
    V12_ROOM,
    V12_ROOM.replace("!", "%21"),
)
ALIASES = ("%23name%3Aexample.org", "%23a%2Fb%2fc:example.org")
USERS = ("@alice:example.org", "%40alice%3Aexample.org", "@al%2Fice:example.org")
EVENTS = ("$abc:example.org", "%24abc", "$acR1l0raoZnm60CBwAVgqbZqoO_mYU81xysh1u7XcJk")
SAMPLES: dict[str, tuple[str, ...]] = {
    "room_id": ROOMS,
    "room_identifier": (*ROOMS, *ALIASES),
    "room_alias": ALIASES,
    "user_id": USERS,
    "target_user_id": USERS,
    "event_id": EVENTS,
    "parent_id": EVENTS,
    "thread_root_id": EVENTS,
    "path": (
        "pushrules/global/content/x",
        "pushrules/",
        "pushrules/global/override/.m.rule/enabled",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One row of the oracle: a registration, and the kinds of process that have it."""

    method: str
    pattern: str
    servlet: str
    category: str | None
    denied_on_workers: bool
    served_by: tuple[str, ...]

    @property
    def requests(self) -> tuple[tuple[str, str], ...]:
        """The methods and raw paths that match; for a resource without methods, only GET."""
        method = "GET" if self.method == "*" else self.method
        return tuple((method, path) for path in paths(self.pattern))


def load() -> tuple[Registration, ...]:
    """Load the checked-in oracle."""
    (path,) = HERE.glob("synapse-*.json")
    rows = json.loads(path.read_text(encoding="utf-8"))["registrations"]
    return tuple(
        Registration(
            method=row["method"],
            pattern=row["pattern"],
            servlet=row["servlet"],
            category=row["category"],
            denied_on_workers=row["denied_on_workers"],
            served_by=tuple(row["served_by"]),
        )
        for row in rows
    )


def paths(pattern: str) -> tuple[str, ...]:
    """Return paths that match a pattern, which together use every alternative and every sample."""
    tree = parser.parse(pattern)
    names = {number: name for name, number in tree.state.groupdict.items()}
    found = tuple(dict.fromkeys(_sequence(tree, names)))
    for path in found:
        assert re.match(pattern, path), (pattern, path)
    return found


def _sequence(items: Iterable[Any], names: dict[int, str]) -> list[str]:
    """Return a basic text first, and then texts that differ from it in one place each."""
    options = [list(_item(item, names)) for item in items]
    usual = [choices[0] for choices in options]
    found = ["".join(usual)]
    for index, choices in enumerate(options):
        found += ["".join([*usual[:index], other, *usual[index + 1 :]]) for other in choices[1:]]
    return found


def _item(item: Any, names: dict[int, str]) -> Iterator[str]:
    kind, value = item
    if kind is op.LITERAL:
        yield chr(value)
    elif kind is op.AT:
        yield ""
    elif kind is op.ANY:
        # An unescaped dot in the name of an unstable prefix.
        yield "."
    elif kind in (op.NOT_LITERAL, op.IN):
        yield "x"
    elif kind is op.BRANCH:
        for alternative in value[1]:
            yield from _sequence(alternative, names)
    elif kind is op.SUBPATTERN:
        inner = _sequence(value[3], names)
        name = names.get(value[0], "")
        # Samples replace groups that are one character class, and the group `path`.
        sampled = name == "path" or inner == ["x"]
        yield from SAMPLES.get(name, inner) if sampled else inner
    elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        least, _, inner_items = value
        optional = least == 0 and not _is_any(inner_items)
        yield from _sequence(inner_items, names)
        if optional:
            yield ""
    else:
        raise AssertionError(f"unknown part of a pattern: {item}")


def _is_any(items: Iterable[Any]) -> bool:
    """Return whether the items are one character class, as in `[^/]*`: one sample is enough."""
    return [kind for kind, _ in items] in ([op.NOT_LITERAL], [op.ANY], [op.IN])


def compared() -> tuple[str, ...]:
    """Return the lines of importing/requests.txt: each registration in one spelling of its IDs."""
    others = {sample for samples in SAMPLES.values() for sample in samples[1:]}
    firsts = {samples[0] for samples in SAMPLES.values()}
    found: dict[str, None] = {}
    for row in load():
        plain = [
            (method, path)
            for method, path in row.requests
            if not any(other in path for other in others - firsts)
        ]
        for method, path in plain or row.requests[:1]:
            found[f"{method} {path}"] = None
            if path.endswith("/sync") and method == "GET":
                found[f"{method} {path}?since=s1"] = None
    return tuple(found)
