"""Ganglion's own series: pure, from observed facts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganglion import __version__
from ganglion.control.footprint import Footprint
from ganglion.control.metrics.exposition import Family, Sample
from ganglion.control.metrics.request_log import LIMITS, Times
from ganglion.control.programs import States
from ganglion.control.snapshot import Snapshot, State
from ganglion.control.stores import Postgres, Redis
from ganglion.control.verdict import Word

Labels = Mapping[str, str]


@dataclass(slots=True)
class Observed:
    """The facts of one moment; a part that did not answer is missing.

    `labels` are those of each process. `problems` are the processes that gave no metrics, and the
    stores that did not answer, each with the reason. `seconds` is how long it took.
    """

    labels: Mapping[str, Labels]
    states: States | None = None
    footprints: Mapping[str, Footprint] = field(default_factory=dict)
    requests: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    times: Mapping[tuple[str, str], Times] = field(default_factory=dict)
    postgres: Postgres | None = None
    redis: Redis | None = None
    disk_free: int | None = None
    health: Snapshot | None = None
    asked: tuple[str, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def labels_of(self, name: str) -> Labels:
        """Return the labels of a process, or of a program that is none of Synapse's."""
        return self.labels.get(name) or {"process": name, "role": name}


def families(seen: Observed) -> Iterator[Family]:
    """Return every series of Ganglion's own."""
    yield _one("ganglion_build_info", "The version of Ganglion.", 1, version=__version__)
    yield _one("ganglion_scrape_seconds", "The time that this scrape took to ask.", seen.seconds)
    yield Family(
        name="ganglion_scrape_failed",
        kind="gauge",
        about="Whether a process or store did not answer this scrape; its series are missing.",
        samples=[
            Sample(labels=seen.labels_of(name), value=int(name in seen.problems))
            for name in seen.asked
        ],
    )
    if seen.health is not None:
        yield from _health(seen, seen.health)
    if seen.states is not None:
        yield from _programs(seen, seen.states)
    yield from _memory(seen)
    yield from _nginx(seen)
    if seen.disk_free is not None:
        about = "Free space on the file system of the data directory."
        yield _one("ganglion_disk_free_bytes", about, seen.disk_free)
    if seen.postgres is not None:
        yield from _postgres(seen.postgres)
    if seen.redis is not None:
        yield from _redis(seen.redis)


def _one(name: str, about: str, value: float, kind: str = "gauge", **labels: str) -> Family:
    return Family(name=name, kind=kind, about=about, samples=[Sample(labels=labels, value=value)])


def _health(seen: Observed, found: Snapshot) -> Iterator[Family]:
    ready, _ = found.ready()
    yield _one("ganglion_ready", "Whether every part works, as /ready says.", int(ready))
    yield Family(
        name="ganglion_health",
        kind="gauge",
        about="1 for the state of the server that /health says, 0 for the others.",
        samples=[
            Sample(labels={"state": word.value}, value=int(word is found.verdict.word))
            for word in Word
        ],
    )
    yield Family(
        name="ganglion_part_ready",
        kind="gauge",
        about="Whether a part works. One that has not answered yet is missing.",
        samples=[
            Sample(labels={"part": item.name}, value=int(item.state is State.WORKS))
            for item in found.checks
            if item.state is not State.UNKNOWN
        ],
    )
    yield Family(
        name="ganglion_stream_lag_seconds",
        kind="gauge",
        about="For how long a process has been behind in a stream.",
        samples=[
            Sample(labels={**seen.labels_of(name), "stream": stream}, value=round(seconds, 1))
            for name, streams in found.lags.items()
            for stream, seconds in streams.items()
        ],
    )


def _programs(seen: Observed, states: States) -> Iterator[Family]:
    rows: tuple[tuple[str, str, str, Any], ...] = (
        ("up", "gauge", "Whether it runs.", lambda item: int(item.pid > 0)),
        ("ready", "gauge", "Whether it runs and has said that it is ready.",
         lambda item: int(item.ready)),
        ("starts_total", "counter", "How often it was started; restarts are one less.",
         lambda item: item.starts),
        ("uptime_seconds", "gauge", "The time since its last start.", lambda item: item.age),
        ("given_up", "gauge", "Whether it failed so often that its starts are paused.",
         lambda item: int(item.given_up)),
    )  # fmt: skip
    for name, kind, about, value in rows:
        samples = [
            Sample(labels=seen.labels_of(item.name), value=found)
            for item in states.programs.values()
            if (found := value(item)) is not None
        ]
        yield Family(name=f"ganglion_process_{name}", kind=kind, about=about, samples=samples)
    yield Family(
        name="ganglion_start_stage_seconds",
        kind="gauge",
        about="The end of each stage of the start, since it began.",
        samples=[Sample(labels={"stage": key}, value=end) for key, end in states.start.items()],
    )


def _memory(seen: Observed) -> Iterator[Family]:
    rows: tuple[tuple[str, str, str, Any], ...] = (
        ("processor_seconds_total", "counter", "Processor time, with the processes below it.",
         lambda item: item.processor),
        ("resident_bytes", "gauge",
         "Memory with the processes below it; a shared page counts for each.",
         lambda item: item.resident),
        ("processes", "gauge", "It and the processes below it.", lambda item: item.processes),
    )  # fmt: skip
    for name, kind, about, value in rows:
        samples = [
            Sample(labels=seen.labels_of(program), value=value(item))
            for program, item in seen.footprints.items()
        ]
        yield Family(name=f"ganglion_process_{name}", kind=kind, about=about, samples=samples)


def _nginx(seen: Observed) -> Iterator[Family]:
    nginx = seen.labels_of("nginx")
    yield Family(
        name="ganglion_nginx_requests_total",
        kind="counter",
        about="Requests by route, by the worker that answered, and by status.",
        samples=[
            Sample(
                labels={**nginx, "route": route, "worker": worker, "status": status}, value=number
            )
            for (route, worker, status), number in sorted(seen.requests.items())
        ],
    )
    samples = []
    for (route, worker), times in sorted(seen.times.items()):
        labels = {**nginx, "route": route, "worker": worker}
        total = 0
        for limit, number in zip([*map(str, LIMITS), "+Inf"], times.counts, strict=True):
            total += number
            samples.append(Sample(labels={**labels, "le": limit}, value=total, suffix="_bucket"))
        samples.append(Sample(labels=labels, value=total, suffix="_count"))
        samples.append(Sample(labels=labels, value=round(times.total, 3), suffix="_sum"))
    yield Family(
        name="ganglion_nginx_request_seconds",
        kind="histogram",
        about="The time from the first byte of a request to the last of its response.",
        samples=samples,
    )


def _postgres(found: Postgres) -> Iterator[Family]:
    labels = {"process": "postgres", "role": "postgres"}
    for name, value in found.counters.items():
        about = f"{name.replace('_', ' ').capitalize()} of the database, by PostgreSQL's count."
        yield _one(f"ganglion_postgres_{name}_total", about, value, "counter", **labels)
    gauges = (
        ("size_bytes", "The size of the database.", found.size),
        ("max_connections", "max_connections.", found.most_connections),
        ("longest_transaction_seconds", "The age of the oldest transaction.", found.longest),
        ("background_updates", "Background updates that wait or run.", found.background_updates),
    )
    for name, about, value in gauges:
        yield _one(f"ganglion_postgres_{name}", about, value, **labels)
    yield Family(
        name="ganglion_postgres_connections",
        kind="gauge",
        about="Connections to the database by their state.",
        samples=[
            Sample(labels={**labels, "state": state}, value=number)
            for state, number in found.connections.items()
        ],
    )


def _redis(found: Redis) -> Iterator[Family]:
    labels = {"process": "redis", "role": "redis"}
    for name, value in found.gauges.items():
        yield _one(f"ganglion_redis_{name}", f"Redis's {name.replace('_', ' ')}.", value, **labels)
    for name, value in found.counters.items():
        about = f"Redis's {name.replace('_', ' ')}."
        yield _one(f"ganglion_redis_{name}_total", about, value, "counter", **labels)
