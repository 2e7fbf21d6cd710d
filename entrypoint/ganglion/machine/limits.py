"""How much memory and processor time there is for us: the container's own limits, else the machine.

A container's limits are those of its control group and of every group around it that can be seen:
https://docs.kernel.org/admin-guide/cgroup-v2.html, …/cgroup-v1/memory.html and, of processor time,
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import PurePosixPath

# Reads a file that the kernel shows. Raises OSError.
Reader = Callable[[str], str]

MEMBERSHIP = "/proc/self/cgroup"
MEMORY = "/proc/meminfo"
MOUNT = PurePosixPath("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all together may take: `memory` in bytes, `cpus` in processors, and who says so."""

    memory: int
    memory_from: str
    cpus: float
    cpus_from: str

    @property
    def cores(self) -> int:
        """How many processes can be at work at the same time."""
        return max(1, ceil(self.cpus))


# Memory that a machine is taken to have for us in any case, in bytes.
MODEST = 4 * 1024**3


def discover(read: Reader, processors: int) -> Limits:
    """The tightest limits that hold here. `processors` are those that we may run on."""
    quotas = [(float(processors), "processors of this machine"), *_quotas(read)]
    whole = list(_machine_memory(read))
    # Without /proc there is nothing to go by; what cannot be known is not refused either.
    memory, memory_from = min([*whole, *_sizes(read)], default=(MODEST, "assumed"))
    if whole and memory >= whole[0][0] > MODEST:
        # Nobody said that all of the machine is for us.
        memory, memory_from = max(MODEST, memory // 2), "half of this machine, as nothing limits us"
    cpus, cpus_from = min(quotas)
    return Limits(memory=memory, memory_from=memory_from, cpus=cpus, cpus_from=cpus_from)


def amount(size: int) -> str:
    """A number of bytes as a person reads it, in M, rounded up."""
    return f"{-(-size // 1024**2)}M"


def chosen(found: Limits, *, memory: int | None, cpus: float | None) -> Limits:
    """The limits, replaced by GANGLION_MEMORY (bytes) and GANGLION_CPUS where these are set."""
    limits = found
    if memory is not None:
        limits = replace(limits, memory=memory, memory_from="GANGLION_MEMORY")
    if cpus is not None:
        limits = replace(limits, cpus=cpus, cpus_from="GANGLION_CPUS")
    return limits


def _text(read: Reader, path: PurePosixPath | str) -> str:
    """What a file holds; nothing where there is none."""
    try:
        return read(str(path)).strip()
    except (OSError, ValueError):
        return ""


def _machine_memory(read: Reader) -> Iterator[tuple[int, str]]:
    for line in _text(read, MEMORY).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal" and rest.split()[:1]:
            yield int(rest.split()[0]) * 1024, "memory of this machine"


def _groups(read: Reader, controller: str) -> Iterator[PurePosixPath]:
    """The directories of our control group and of those around it, for one controller.

    An empty controller stands for version 2, which has one tree for all. In a container the path is
    either seen from its own root, or from that of the machine, of which it may see nothing.
    """
    # Where both versions are at work, the tree of version 2 is mounted at `unified`.
    roots = [MOUNT / controller] if controller else [MOUNT, MOUNT / "unified"]
    for line in _text(read, MEMBERSHIP).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controller in controllers.split(","):
            inside = PurePosixPath(path.lstrip("/"))
            if ".." in inside.parts:
                inside = PurePosixPath()
            for root in roots:
                yield from (root / part for part in (inside, *inside.parents))


def _sizes(read: Reader) -> Iterator[tuple[int, str]]:
    """Every limit of memory; version 1 has a number beyond any machine where there is none."""
    for controller, names in (
        ("", ("memory.max", "memory.high")),
        ("memory", ("memory.limit_in_bytes",)),
    ):
        for group in _groups(read, controller):
            for name in names:
                text = _text(read, group / name)
                if text.isdecimal() and int(text) > 0:
                    yield int(text), f"cgroup {name}"


def _quotas(read: Reader) -> Iterator[tuple[float, str]]:
    """Every limit of processor time, as a number of processors."""
    for group in _groups(read, ""):
        yield from _quota(_text(read, group / "cpu.max").split(), "cpu.max")
    for group in _groups(read, "cpu"):
        words = [_text(read, group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        yield from _quota(words, "cpu.cfs_quota_us")


def _quota(words: list[str], name: str) -> Iterator[tuple[float, str]]:
    # `max`, and -1 in version 1, mean that there is no limit.
    if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):
        yield int(words[0]) / int(words[1]), f"cgroup {name}"
