"""Find how much memory and processor time is available: the container's limits or the machine's.

The limits of a container are those of its cgroup and of every enclosing cgroup that is visible:
https://docs.kernel.org/admin-guide/cgroup-v2.html, …/cgroup-v1/memory.html and, for processor time,
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import PurePosixPath

# Reads a file of /proc or /sys. Raises OSError.
Reader = Callable[[str], str]

MEMBERSHIP = "/proc/self/cgroup"
MEMORY = "/proc/meminfo"
MOUNT = PurePosixPath("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits for all processes together, `memory` in bytes, each with its source as text."""

    memory: int
    memory_from: str
    cpus: float
    cpus_from: str

    @property
    def cores(self) -> int:
        """How many processes can run at the same time."""
        return max(1, ceil(self.cpus))


# Bytes of memory that Ganglion uses on a machine without a limit, even if that is more than half of
# it. Also the assumption if the memory of the machine is unknown.
MODEST = 4 * 1024**3


def discover(read: Reader, processors: int) -> Limits:
    """Return the tightest limits. `processors` is the number that this process may run on."""
    quotas = [(float(processors), "processors of the machine"), *_quotas(read)]
    whole = list(_machine_memory(read))
    # Without /proc the memory is unknown; assume some rather than fail.
    memory, memory_from = min([*whole, *_sizes(read)], default=(MODEST, "assumed"))
    if whole and memory >= whole[0][0] > MODEST:
        # There is no container limit, and other programs probably run on the machine too.
        memory, memory_from = (
            max(MODEST, memory // 2),
            "half of the machine's memory (no container limit is set)",
        )
    cpus, cpus_from = min(quotas)
    return Limits(memory=memory, memory_from=memory_from, cpus=cpus, cpus_from=cpus_from)


def amount(size: int) -> str:
    """Format a number of bytes in M, rounded up."""
    return f"{-(-size // 1024**2)}M"


def chosen(found: Limits, *, memory: int | None, cpus: float | None) -> Limits:
    """Apply GANGLION_MEMORY (bytes) and GANGLION_CPUS to the limits, if these are set."""
    limits = found
    if memory is not None:
        limits = replace(limits, memory=memory, memory_from="GANGLION_MEMORY")
    if cpus is not None:
        limits = replace(limits, cpus=cpus, cpus_from="GANGLION_CPUS")
    return limits


def _text(read: Reader, path: PurePosixPath | str) -> str:
    """Return the content of a file, or an empty text if it cannot be read."""
    try:
        return read(str(path)).strip()
    except (OSError, ValueError):
        return ""


def _machine_memory(read: Reader) -> Iterator[tuple[int, str]]:
    for line in _text(read, MEMORY).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal" and rest.split()[:1]:
            yield int(rest.split()[0]) * 1024, "memory of the machine"


def _groups(read: Reader, controller: str) -> Iterator[PurePosixPath]:
    """Yield the directories of this process's cgroup and of its parents, for one controller.

    An empty `controller` stands for version 2, which has one tree for all controllers. In a
    container, the path in /proc is relative either to the container's root or to the machine's,
    whose directories may not exist in the container.
    """
    # If both versions are in use, the tree of version 2 is mounted at `unified`.
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
    """Yield every memory limit. In version 1, a huge number means no limit."""
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
    """Yield every limit of processor time, as a number of processors."""
    for group in _groups(read, ""):
        yield from _quota(_text(read, group / "cpu.max").split(), "cpu.max")
    for group in _groups(read, "cpu"):
        words = [_text(read, group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        yield from _quota(words, "cpu.cfs_quota_us")


def _quota(words: list[str], name: str) -> Iterator[tuple[float, str]]:
    # `max`, or -1 in version 1, means that there is no limit.
    if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):
        yield int(words[0]) / int(words[1]), f"cgroup {name}"
