"""The grammar of WORKERS: text → entries.

    WORKERS = entry, entry, …           separated by commas or line breaks
    entry   = preset | [NAME =] role + role … [: COUNT]     `*` may stand for `:`

A named entry takes the place of a preset's entry of the same name, so `full, pusher:0` is full
without its pusher and `medium, event_creator:3` has three event creators.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ganglion.errors import Problem
from ganglion.topology.roles import AUTO, BY_NAME, LEGACY_APPS, PRESETS, SHORTHANDS

# What a file path, nginx, supervisord and Synapse's own image all take; a number is put behind
# it, so it cannot end in one. supervisord's own limit is none, a unix socket's path is 107 bytes.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,62}(?<![0-9])", re.ASCII)
MOST_COPIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Workers with the same roles: NAME1, NAME2, … up to `count`."""

    name: str
    roles: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a text of WORKERS says, and notes on what its reader should know.

    `preset` is the one named in it, if any. Where there are problems, the entries are those that
    could be read.
    """

    preset: str = ""
    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Reading:
    """What is gathered while one text is read."""

    variable: str
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, value: str, message: str, hint: str) -> None:
        self.problems.append(
            Problem(variable=self.variable, value=value, message=message, hint=hint)
        )


def parse_workers(
    text: str, *, variable: str = "WORKERS", repeats_add_up: bool = False, auto: str = ""
) -> Parsed:
    """Read a text of WORKERS, in which the preset auto stands for the text `auto`.

    With `repeats_add_up`, an entry written twice means two workers, as it does to Synapse's own
    worker image in SYNAPSE_WORKER_TYPES; else it is a problem.
    """
    reading = _Reading(variable)
    presets = {**PRESETS, AUTO: auto}
    preset_name, preset = "", dict[str, Entry]()
    named: dict[str, Entry] = {}
    for word in _split(text):
        if word in presets:
            if preset_name:
                reading.problem(
                    word, f"is a second preset beside {preset_name}", "name one preset only"
                )
            preset_name, preset = word, _preset(word, presets[word])
            continue
        entry = _entry(word, reading)
        if entry is None:
            continue
        twin = named.get(entry.name)
        if twin is None:
            named[entry.name] = entry
        elif set(twin.roles) != set(entry.roles):
            reading.problem(
                word,
                f"has the name {entry.name} of other workers, {'+'.join(twin.roles)}",
                f"give it a name of its own: NAME={'+'.join(entry.roles)}",
            )
        elif repeats_add_up:
            named[entry.name] = replace(twin, count=twin.count + entry.count)
        else:
            reading.problem(
                word,
                "is there twice",
                f"write it once with the number of workers: {re.split('[:*]', word)[0]}:"
                f"{twin.count + entry.count}",
            )
    entries = {**preset, **named}.values()
    return Parsed(
        preset=preset_name,
        entries=tuple(entry for entry in entries if entry.count),
        notes=tuple(dict.fromkeys(reading.notes)),
        problems=tuple(reading.problems),
    )


def _preset(name: str, text: str) -> dict[str, Entry]:
    reading = _Reading(name)
    entries = (_entry(word, reading) for word in _split(text))
    return {entry.name: entry for entry in entries if entry is not None}


def _split(text: str) -> Iterator[str]:
    """The entries of a text, without the white space in them; an empty one where none stands.

    A comma before a line break separates once, and lines with nothing on them do not count.
    """
    lines = [squeezed for line in text.splitlines() if (squeezed := re.sub(r"\s+", "", line))]
    for number, line in enumerate(lines, start=1):
        words = line.split(",")
        if words[-1] == "" and number < len(lines):
            words.pop()
        yield from words


def _entry(word: str, reading: _Reading) -> Entry | None:
    """One entry, or None when there is a problem with it."""
    if not word:
        reading.problem(word, "has an entry with nothing in it", "take out the extra comma")
        return None
    before = len(reading.problems)
    body, count = _count(word, reading)
    name, equals, roles_text = body.rpartition("=")
    if "=" in name:
        reading.problem(word, "has more than one =", "write NAME=role+role")
        return None
    roles = _roles(word, roles_text, reading)
    if equals and not NAME.fullmatch(name):
        reading.problem(
            word,
            f"has a name, {name!r}, that cannot be a file name, a process name and part of an "
            "nginx configuration",
            "use letters, digits, _ and -, starting with a letter and not ending with a digit, "
            "at most 63 characters",
        )
    if len(reading.problems) > before:
        return None
    if not equals:
        name = roles_text if roles_text in SHORTHANDS else "+".join(sorted(roles))
        if len(name) > 63:
            reading.problem(word, "makes a name that is too long", f"name it: NAME={roles_text}")
            return None
    return Entry(name=name, roles=roles, count=count)


def _count(word: str, reading: _Reading) -> tuple[str, int]:
    """The entry without its count, and the count."""
    found = re.fullmatch(r"(?P<body>[^:*]*)(?:[:*](?P<count>.*))?", word)
    if found is None or found["count"] is None:
        return word, 1
    if not re.fullmatch(r"\d{1,4}", found["count"], re.ASCII) or int(found["count"]) > MOST_COPIES:
        reading.problem(
            word,
            f"has {found['count']!r} for a number of workers",
            f"write a whole number from 0 to {MOST_COPIES} behind the colon",
        )
        return found["body"], 1
    return found["body"], int(found["count"])


def _roles(word: str, text: str, reading: _Reading) -> tuple[str, ...]:
    """The roles that a text such as `typing+to_device` names, in its order."""
    roles: list[str] = []
    for part in text.split("+"):
        for role in _meaning(word, part, reading):
            if role in roles:
                reading.problem(word, f"names the role {role} twice", f"name {role} once")
            roles.append(role)
    return tuple(dict.fromkeys(roles))


def _meaning(word: str, part: str, reading: _Reading) -> tuple[str, ...]:
    """The roles that one word between two `+` stands for."""
    if part in BY_NAME:
        return (part,)
    if part in SHORTHANDS:
        return SHORTHANDS[part]
    if part in LEGACY_APPS:
        role = LEGACY_APPS[part]
        reading.notes.append(
            f"{part} is the name of a former Synapse application: it means the role {role}, and "
            f"runs as synapse.app.generic_worker"
        )
        return (role,)
    if part in (*PRESETS, AUTO):
        reading.problem(
            word, f"has the preset {part} inside an entry", f"write {part} as an entry by itself"
        )
        return ()
    if not part:
        reading.problem(word, "lacks a role", "write NAME=role, role+role or role:COUNT")
        return ()
    words = [*BY_NAME, *SHORTHANDS, *PRESETS, AUTO, *LEGACY_APPS]
    near = difflib.get_close_matches(part.lower(), words, n=1, cutoff=0.5)
    reading.problem(
        word,
        f"has {part!r}, which is no role",
        f"did you mean {near[0]}?" if near else f"the roles are {', '.join(BY_NAME)}",
    )
    return ()
