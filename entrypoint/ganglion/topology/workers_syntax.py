"""Parse WORKERS into entries.

    WORKERS = entry, entry, …           separated by commas or line breaks
    entry   = preset | [NAME =] role + role … [: COUNT]     `*` is allowed instead of `:`
    COUNT   = a number | LEAST-MOST, for roles that only read

An entry replaces the preset's entry of the same name: `full, pusher:0` is full without its pusher,
and `medium, event_creator:3` has three event creators.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ganglion.errors import Problem
from ganglion.topology.roles import AUTO, BY_NAME, LEGACY_APPS, PRESETS, SHORTHANDS

# Valid in a file path, in nginx, in supervisord and in Synapse's own image. A number is appended,
# so a name cannot end in a digit. Socket paths have at most 107 bytes, so the length is limited.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,62}(?<![0-9])", re.ASCII)
MOST_COPIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Workers with the same roles: NAME1, NAME2, … up to `count`.

    With a range, `count` is its lower number and `most` its upper one, up to which a target of
    `ganglion export` may add workers.
    """

    name: str
    roles: tuple[str, ...]
    count: int
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The entries of a text of WORKERS, with notes and problems.

    `preset` is the name of the preset in it, if any. Entries with a problem are left out.
    """

    preset: str = ""
    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Findings:
    """Collects problems and notes while a text is parsed."""

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
    """Parse a text of WORKERS. The preset `auto` stands for the text `auto`.

    With `repeats_add_up`, an entry written twice means two workers, as in SYNAPSE_WORKER_TYPES of
    Synapse's own worker image; otherwise it is a problem.
    """
    findings = _Findings(variable)
    presets = {**PRESETS, AUTO: auto}
    preset_name, preset = "", dict[str, Entry]()
    named: dict[str, Entry] = {}
    for word in _split(text):
        if word in presets:
            if preset_name:
                findings.problem(
                    word, f"is a second preset besides {preset_name}", "use only one preset"
                )
            preset_name, preset = word, _preset(word, presets[word])
            continue
        entry = _entry(word, findings)
        if entry is None:
            continue
        twin = named.get(entry.name)
        if twin is None:
            named[entry.name] = entry
        elif set(twin.roles) != set(entry.roles):
            findings.problem(
                word,
                f"name {entry.name!r} is already used for {'+'.join(twin.roles)}",
                f"give it another name: NAME={'+'.join(entry.roles)}",
            )
        elif repeats_add_up:
            named[entry.name] = _sum(twin, entry)
        else:
            findings.problem(
                word,
                "is listed twice",
                f"write it once, with the number of workers: {re.split('[:*]', word)[0]}:"
                f"{_number(_sum(twin, entry))}",
            )
    entries = {**preset, **named}.values()
    return Parsed(
        preset=preset_name,
        entries=tuple(entry for entry in entries if entry.count),
        notes=tuple(dict.fromkeys(findings.notes)),
        problems=tuple(findings.problems),
    )


def _preset(name: str, text: str) -> dict[str, Entry]:
    findings = _Findings(name)
    entries = (_entry(word, findings) for word in _split(text))
    return {entry.name: entry for entry in entries if entry is not None}


def _split(text: str) -> Iterator[str]:
    """Yield the entries of a text without white space; two commas in a row enclose an empty one.

    A comma followed by a line break separates once. Empty lines are ignored.
    """
    lines = [squeezed for line in text.splitlines() if (squeezed := re.sub(r"\s+", "", line))]
    for number, line in enumerate(lines, start=1):
        words = line.split(",")
        if words[-1] == "" and number < len(lines):
            words.pop()
        yield from words


def _entry(word: str, findings: _Findings) -> Entry | None:
    """Parse one entry. Returns None if there is a problem with it."""
    if not word:
        findings.problem(word, "has an empty entry", "remove the extra comma")
        return None
    before = len(findings.problems)
    body, count, most = _count(word, findings)
    name, equals, roles_text = body.rpartition("=")
    if "=" in name:
        findings.problem(word, "has more than one =", "write NAME=role+role")
        return None
    roles = _roles(word, roles_text, findings)
    if equals and not NAME.fullmatch(name):
        findings.problem(
            word,
            f"invalid name {name!r}",
            "use letters, digits, _ and -, starting with a letter and not ending with a digit, "
            "at most 63 characters",
        )
    if len(findings.problems) > before:
        return None
    if not equals:
        name = roles_text if roles_text in SHORTHANDS else "+".join(sorted(roles))
        if len(name) > 63:
            findings.problem(word, "is too long as a name", f"give it a name: NAME={roles_text}")
            return None
    entry = Entry(name=name, roles=roles, count=count, most=most)
    _check_range(word, body, entry, findings)
    return entry if len(findings.problems) == before else None


def _count(word: str, findings: _Findings) -> tuple[str, int, int | None]:
    """Split an entry into the part before the count, the count, and the upper number of a range."""
    found = re.fullmatch(r"(?P<body>[^:*]*)(?:[:*](?P<count>.*))?", word)
    if found is None or found["count"] is None:
        return word, 1, None
    body, text = found["body"], found["count"]
    numbers = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text, re.ASCII)
    if numbers is None or max(int(item or 0) for item in numbers.groups()) > MOST_COPIES:
        findings.problem(
            word,
            f"invalid number of workers {text!r}",
            f"write a whole number from 0 to {MOST_COPIES} after the colon, or a range such as 2-8",
        )
        return body, 1, None
    count = int(numbers[1])
    if numbers[2] is None:
        return body, count, None
    most = int(numbers[2])
    if most < count:
        findings.problem(
            word,
            f"has the range {text}, which ends below its start",
            f"write {body}:{most}-{count}",
        )
    elif not count:
        findings.problem(
            word,
            f"has the range {text}: a pool needs a worker that always runs",
            f"write {body}:1-{max(1, most)}, or {body}:0 for no worker",
        )
    return body, count, most if most > count else None


def _check_range(word: str, body: str, entry: Entry, findings: _Findings) -> None:
    """Report a range for roles whose workers others know by name."""
    fixed = [role for role in entry.roles if not BY_NAME[role].only_reads]
    if entry.most is None or not fixed:
        return
    one = all(BY_NAME[role].limit is None for role in fixed)
    several = len(entry.roles) > len(fixed)
    findings.problem(
        word,
        f"is a range, and the number of workers with {', '.join(fixed)} is fixed: the other"
        " processes know each of them",
        f"write one number: {body}:{entry.count if one else 1}"
        + (f"; or give {', '.join(fixed)} to another entry" if several else ""),
    )


def _sum(first: Entry, second: Entry) -> Entry:
    """Return an entry with the workers of two."""
    ranged = first.most is not None or second.most is not None
    most = (first.most or first.count) + (second.most or second.count)
    return replace(first, count=first.count + second.count, most=most if ranged else None)


def _number(entry: Entry) -> str:
    return str(entry.count) if entry.most is None else f"{entry.count}-{entry.most}"


def _roles(word: str, text: str, findings: _Findings) -> tuple[str, ...]:
    """Parse roles such as `typing+to_device`, in their order."""
    roles: list[str] = []
    for part in text.split("+"):
        for role in _meaning(word, part, findings):
            if role in roles:
                findings.problem(word, f"lists the role {role} twice", f"list {role} once")
            roles.append(role)
    return tuple(dict.fromkeys(roles))


def _meaning(word: str, part: str, findings: _Findings) -> tuple[str, ...]:
    """Return the roles that one word between two `+` stands for."""
    if part in BY_NAME:
        return (part,)
    if part in SHORTHANDS:
        return SHORTHANDS[part]
    if part in LEGACY_APPS:
        role = LEGACY_APPS[part]
        findings.notes.append(
            f"{part} is a deprecated Synapse application; the worker gets the role {role} and runs"
            " synapse.app.generic_worker"
        )
        return (role,)
    if part in (*PRESETS, AUTO):
        findings.problem(
            word,
            f"the preset {part} cannot be part of an entry",
            f"write {part} as a separate entry",
        )
        return ()
    if not part:
        findings.problem(word, "has no role", "write NAME=role, role+role or role:COUNT")
        return ()
    words = [*BY_NAME, *SHORTHANDS, *PRESETS, AUTO, *LEGACY_APPS]
    near = difflib.get_close_matches(part.lower(), words, n=1, cutoff=0.5)
    findings.problem(
        word,
        f"unknown role {part!r}",
        f"did you mean {near[0]!r}?" if near else f"the roles are {', '.join(BY_NAME)}",
    )
    return ()
