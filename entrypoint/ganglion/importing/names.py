"""Names for the old workers that WORKERS can spell, the same as before wherever that is possible.

Ganglion's workers are called NAME1, NAME2, … of an entry. Synapse divides work over a list by the
place in it, and records by name how far each worker got. So the order of a list is kept first. A
name is kept where its owner keeps its place; no worker gets the old name of another one, as it
would go on from that one's position.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ganglion.importing.findings import OldWorker
from ganglion.topology.roles import AUTO, PRESETS
from ganglion.topology.workers_syntax import NAME, Entry

NUMBERED = re.compile(r"(?P<base>.*?)(?P<number>0|[1-9][0-9]{0,2})?", re.ASCII)
# The path of a socket has 107 bytes at most, and this name is in it.
LONGEST = 55


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Entries of WORKERS, and the new name of each old worker."""

    entries: tuple[Entry, ...]
    names: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text of WORKERS."""
        parts = (
            f"{entry.name}={'+'.join(entry.roles)}" + (f":{entry.count}" if entry.count > 1 else "")
            for entry in self.entries
        )
        return ", ".join(parts) or "none"


@dataclass(frozen=True, slots=True)
class _Group:
    """Workers of one entry, in the order of their new numbers."""

    name: str
    members: tuple[OldWorker, ...]

    def names(self) -> Iterator[tuple[str, str]]:
        for number, worker in enumerate(self.members, start=1):
            yield worker.name, f"{self.name}{number}"


def name_workers(workers: Sequence[OldWorker], lists: Mapping[str, tuple[str, ...]]) -> Named:
    """Arrange the workers as entries of WORKERS."""
    places = _places(workers, lists)
    ordered = sorted(workers, key=lambda worker: places[worker.name])
    kept = _kept(ordered, lists)
    left = [worker for worker in ordered if not any(worker in group.members for group in kept)]
    groups = [*kept, *_renamed(_runs(left, lists), {worker.name for worker in workers}, kept)]
    groups.sort(key=lambda group: places[group.members[0].name])
    names = {old: new for group in groups for old, new in group.names()}
    order = list(names)
    notes = []
    for role, members in lists.items():
        if sorted(members, key=order.index) != list(members):
            notes.append(
                f"the order of the {role} workers changes to"
                f" {', '.join(names[old] for old in sorted(members, key=order.index))}, so part of"
                " their work moves between them; stop every old process before the first start"
            )
    return Named(
        entries=tuple(
            Entry(name=group.name, roles=group.members[0].roles, count=len(group.members))
            for group in groups
        ),
        names=names,
        notes=tuple(notes),
    )


def _places(
    workers: Sequence[OldWorker], lists: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[int, ...]]:
    """The sort key of each worker: its place in the lists, then among the files."""
    far = len(workers)
    return {
        worker.name: (
            *(
                members.index(worker.name) if worker.name in members else far
                for _, members in sorted(lists.items(), key=_first)
            ),
            number,
        )
        for number, worker in enumerate(workers)
    }


def _first(item: tuple[str, tuple[str, ...]]) -> tuple[int, str]:
    """Senders come first: Synapse records their positions by name alone."""
    return (("federation_sender", "event_persister", item[0]).index(item[0]), item[0])


def _split(name: str) -> tuple[str, int | None]:
    found = NUMBERED.fullmatch(name)
    if found is None or found["number"] is None:
        return name, None
    return found["base"], int(found["number"])


def _kept(ordered: Sequence[OldWorker], lists: Mapping[str, tuple[str, ...]]) -> list[_Group]:
    """The groups whose workers keep their names: NAME1 to NAMEn, in the order of each list."""
    candidates: dict[tuple[str, tuple[str, ...]], list[OldWorker]] = {}
    for worker in ordered:
        candidates.setdefault((_split(worker.name)[0], worker.roles), []).append(worker)
    listed = {name for members in lists.values() for name in members}
    found: dict[str, _Group] = {}
    for (base, _), members in candidates.items():
        numbered = sorted(members, key=lambda worker: _split(worker.name)[1] or 0)
        numbers = [_split(worker.name)[1] for worker in numbered]
        if numbers != list(range(1, len(members) + 1)) or not _usable(base):
            continue
        if not all(_in_order([worker.name for worker in numbered], row) for row in lists.values()):
            continue
        group = _Group(base, tuple(numbered))
        rival = found.get(base)
        if rival is None or _weight(group, listed) > _weight(rival, listed):
            found[base] = group
    return list(found.values())


def _weight(group: _Group, listed: set[str]) -> tuple[int, int]:
    return (
        sum(worker.name in listed for worker in group.members),
        len(group.members),
    )


def _in_order(names: Sequence[str], members: tuple[str, ...]) -> bool:
    """Whether those in a list stand there together and in this order."""
    there = [name for name in names if name in members]
    start = members.index(there[0]) if there else 0
    return tuple(there) == members[start : start + len(there)]


def _usable(base: str) -> bool:
    return bool(NAME.fullmatch(base)) and base not in (*PRESETS, AUTO)


def _runs(
    left: Sequence[OldWorker], lists: Mapping[str, tuple[str, ...]]
) -> list[tuple[str, list[OldWorker]]]:
    """Workers that can be one entry, with the stem of its name. In lists they stand together."""
    found: list[tuple[str, list[OldWorker]]] = []
    for worker in left:
        base = re.sub(r"[^A-Za-z0-9_-]", "_", _split(worker.name)[0]).strip("-_0123456789")
        stem = (base or worker.roles[0])[:LONGEST].rstrip("-_0123456789")
        for other, members in reversed(found):
            if other == stem and members[-1].roles == worker.roles:
                rows = [row for row in lists.values() if worker.name in row]
                last = members[-1].name
                if all(
                    last in row and row.index(last) + 1 == row.index(worker.name) for row in rows
                ):
                    members.append(worker)
                    break
        else:
            found.append((stem, [worker]))
    return found


def _renamed(
    runs: Sequence[tuple[str, list[OldWorker]]], old: set[str], kept: Sequence[_Group]
) -> Iterator[_Group]:
    """Yield groups for the workers whose names cannot stay, each with a name that is free."""
    taken = {group.name for group in kept}
    for stem, members in runs:
        for name in _proposals(stem, members[0].roles[0]):
            new = [f"{name}{number}" for number in range(1, len(members) + 1)]
            clash = any(
                text in old and text != worker.name
                for text, worker in zip(new, members, strict=True)
            )
            if name not in taken and _usable(name) and not clash:
                taken.add(name)
                yield _Group(name, tuple(members))
                break


def _proposals(stem: str, role: str) -> Iterator[str]:
    yield stem
    if stem != role:
        yield f"{stem}_{role}"
    for number in itertools.count(2):
        # A name cannot end in a digit.
        yield f"{stem}_{number}_"
