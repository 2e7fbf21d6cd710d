"""Checks of a running server: its processes, Redis, streams, and memory against the budget."""

import http.client
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganglion.control.client import request
from ganglion.control.health import BETWEEN_LOOKS
from ganglion.control.probes import replication
from ganglion.control.probes.redis_protocol import Refused
from ganglion.control.probes.together import together
from ganglion.control.status import ProcessStatus, status
from ganglion.data import identity
from ganglion.doctor.content import megabytes
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import RESTART, Place
from ganglion.settings.reading import LARGEST_SECRET, read_text
from ganglion.topology import topology
from ganglion.topology.topology import Address, Topology

# Part of the memory from which to warn.
FULL = 0.95
CGROUP = Path("/sys/fs/cgroup")


def _topology(place: Place) -> Topology:
    """Return the topology that runs."""
    from dataclasses import replace  # noqa: PLC0415

    workers = read_text(place.settings.paths.workers, LARGEST_SECRET).strip()
    return topology.build(replace(place.settings, workers=workers, repeats_add_up=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """The supervisor's processes, and those that do not answer, each with the reason.

    `synapse` are the names of Synapse's, which can be restarted one by one.
    """

    states: tuple[ProcessStatus, ...]
    silent: Mapping[str, str]
    synapse: frozenset[str]


def observe_processes(place: Place) -> Processes:
    """Ask the supervisor, and the health of each Synapse process."""
    place.need_running()
    processes = _topology(place).here
    answers = together(lambda item: _health(item.http, place.network.timeout), processes)
    silent = {
        process.name: answer
        for process, answer in zip(processes, answers, strict=True)
        if answer is not None
    }
    return Processes(
        states=status(place.settings),
        silent=silent,
        synapse=frozenset(process.name for process in processes),
    )


def _health(address: Address, timeout: float) -> str | None:
    try:
        code, _ = request(address, "GET", "/health", timeout=timeout)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None if code == 200 else f"it answers {code}"


def judge_processes(found: Processes) -> Iterator[Finding]:
    """Judge the processes."""
    down = [item for item in found.states if item.state not in ("RUNNING", "STARTING")]
    for item in down:
        why = f": {item.description}" if item.description else ""
        yield bad(
            f"{item.name} does not run ({item.state}){why}",
            "others do its work, if they can; the rest fails",
            f"ganglion restart {item.name}" if item.name in found.synapse else RESTART,
            f"docker logs NAME 2>&1 | grep '^{item.name} |' | tail    # says why",
        )
    starting = [item for item in found.states if item.state == "STARTING"]
    for item in starting:
        yield notice(
            f"{item.name} is starting",
            "its work waits; after an upgrade it may change the database for minutes",
            "ganglion status    # in a minute",
        )
    named = {item.name for item in (*down, *starting)}
    silent = {name: why for name, why in found.silent.items() if name not in named}
    for name, why in silent.items():
        yield bad(
            f"{name} runs and does not answer: {why}",
            "its requests hang; the watchdog replaces it if that lasts",
            f"ganglion restart {name}",
        )
    if not named and not silent:
        yield good(f"all {len(found.states)} run and answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Which processes follow replication.

    `listeners` is how many listen in Redis, None if Redis does not answer, of `processes` that
    should. `behind` has, for each process that has not reached a position that another had a second
    before, the streams.
    """

    listeners: int | None
    failure: str
    processes: int
    behind: Mapping[str, tuple[str, ...]]
    measured: bool
    embedded: bool = True


def observe_streams(place: Place) -> Streams:
    """Count the listeners in Redis, and compare positions twice if metrics are on."""
    place.need_running()
    layout = _topology(place)
    listeners, failure = None, ""
    try:
        # The name of the running server, even if the present configuration is broken.
        record = identity.read(place.settings.paths)
        name = place.server_name if record is None else record.server_name
        listeners = replication.listeners(place.settings, name, place.network.timeout)
    except (Refused, OSError) as error:
        failure = str(error)
    behind: dict[str, tuple[str, ...]] = {}
    if place.settings.enable_metrics:
        first = replication.positions(layout, place.network.timeout)
        time.sleep(BETWEEN_LOOKS)
        second = replication.positions(layout, place.network.timeout)
        behind = replication.standing(first, second)
    return Streams(
        listeners=listeners,
        failure=failure,
        # A server without workers does not use Redis to replicate, and still listens.
        processes=len(layout.processes),
        behind=behind,
        measured=place.settings.enable_metrics,
        embedded=place.settings.embedded_redis,
    )


def judge_streams(found: Streams) -> Iterator[Finding]:
    """Judge replication."""
    means = "users of these processes see nothing new, though the processes answer"
    if found.listeners is None:
        yield bad(
            f"Redis does not answer: {found.failure}",
            means,
            RESTART if found.embedded else "start the server that REDIS_HOST names, or correct it",
        )
        return
    if found.listeners < found.processes:
        missing = found.processes - found.listeners
        yield bad(
            f"{found.listeners} of {found.processes} processes listen to replication",
            means,
            f"ganglion restart --all    # unless {missing} of them just started",
        )
    for name, streams in found.behind.items():
        yield bad(
            f"{name} answers, and its position stands in {', '.join(streams)}",
            means,
            f"ganglion restart {name}",
        )
    if not found.behind and found.listeners >= found.processes:
        how = "" if found.measured else "; SYNAPSE_ENABLE_METRICS=yes would compare their positions"
        yield good(f"all {found.processes} processes listen to replication{how}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory in bytes: used by all processes, the budget's, the container's or the machine's.

    `killed` is how often the kernel killed a process of the container for lack of memory.
    """

    used: int | None
    budget: int
    source: str
    actual: int
    killed: int


def observe_memory(place: Place) -> Memory:
    """Read what the container, or else each process, uses."""
    limits = place.limits
    actual = _total()
    cgroup = _number(CGROUP / "memory.max")
    if cgroup is not None:
        actual = min(actual, cgroup)
    used = None
    if place.running:
        used = _of_container() if cgroup is not None else _of_processes(place)
    events = _table(CGROUP / "memory.events")
    return Memory(
        used=used,
        budget=limits.memory,
        source=limits.memory_from,
        actual=actual,
        killed=events.get("oom_kill", 0) if cgroup is not None else 0,
    )


def _total() -> int:
    return _table(Path("/proc/meminfo")).get("MemTotal:", 0) * 1024


def _of_container() -> int | None:
    """Return the container's memory without the kernel's file cache, which makes room."""
    found = _table(CGROUP / "memory.stat")
    if "anon" not in found:
        return None
    return found["anon"] + found.get("shmem", 0) + found.get("kernel", 0)


def _of_processes(place: Place) -> int | None:
    """Return the sum of the processes' shares; None if this account may not read them."""
    pid = _number(Path(place.settings.paths.supervisord_pid))
    if pid is None:
        return None
    total, pids = 0, [pid]
    while pids:
        current = pids.pop()
        try:
            text = Path(f"/proc/{current}/smaps_rollup").read_text(encoding="utf-8")
            children = Path(f"/proc/{current}/task/{current}/children").read_text(encoding="utf-8")
        except PermissionError:
            return None
        except OSError:
            continue
        share = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
        total += int(share[1]) * 1024 if share else 0
        pids += [int(child) for child in children.split()]
    return total


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines with a name and a number."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    words = (line.split() for line in lines)
    return {item[0]: int(item[1]) for item in words if len(item) > 1 and item[1].isdecimal()}


def judge_memory(found: Memory) -> Iterator[Finding]:
    """Judge memory."""
    fewer = "WORKERS=small    # fewer workers; `ganglion budget --explain` shows the shares"
    faults = False
    if found.budget > found.actual:
        faults = True
        yield bad(
            f"the budget is {megabytes(found.budget)} ({found.source}), and there are"
            f" {megabytes(found.actual)}",
            "under load the kernel kills processes",
            "unset GANGLION_MEMORY, or raise the container's limit: docker update --memory",
        )
    if found.killed:
        faults = True
        yield notice(
            f"the kernel killed {found.killed} processes for lack of memory since the start",
            "their users waited, and a kill of PostgreSQL stops everything for a moment",
            "docker update --memory 4G --memory-swap 4G NAME    # more, then restart; or",
            fewer,
        )
    if found.used is not None and found.used > FULL * found.budget:
        faults = True
        yield notice(
            f"{megabytes(found.used)} of the budget of {megabytes(found.budget)} are in use",
            "soon the kernel kills processes",
            "docker update --memory 4G --memory-swap 4G NAME    # more, then restart; or",
            fewer,
        )
    if not faults:
        used = "" if found.used is None else f"{megabytes(found.used)} in use; "
        yield good(f"{used}the budget is {megabytes(found.budget)}: {found.source}")


CHECKS = (
    Check(
        name="processes",
        about="the state of every process, and the health of Synapse's",
        observe=observe_processes,
        judge=judge_processes,
    ),
    Check(
        name="streams",
        about="processes that answer and whose streams stand: listeners in Redis and, with metrics,"
        " each process's positions",
        observe=observe_streams,
        judge=judge_streams,
    ),
    Check(
        name="memory",
        about="memory in use against the budget, the budget against the container's limit, and"
        " kills by the kernel",
        observe=observe_memory,
        judge=judge_memory,
    ),
)
