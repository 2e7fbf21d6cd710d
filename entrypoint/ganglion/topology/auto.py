"""THE table of layouts for WORKERS=auto, from main alone to several workers for each task."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ganglion.errors import ConfigError, Problem
from ganglion.machine import limits
from ganglion.machine.limits import Limits, amount
from ganglion.settings.variables import Settings
from ganglion.topology import topology
from ganglion.topology.roles import AUTO
from ganglion.topology.topology import Topology
from ganglion.topology.workers_syntax import parse_workers

GB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One row: a text of WORKERS, the processors and bytes of memory it needs, and its reason."""

    cpus: float
    memory: int
    workers: str
    why: str


# Smallest first. The last row that the machine is large enough for is used, if it fits the budget.
# Each Synapse process uses one processor at most, and every event costs every process some work. So
# there are fewer processes than processors, which leaves some to PostgreSQL and nginx.
LAYOUTS: tuple[Layout, ...] = (
    Layout(
        cpus=0,
        memory=0,
        workers="",
        why="a single process has no duplicate caches and never waits for another process",
    ),
    # Measured with Synapse's own worker image on 2 processors: 68 messages/s with main alone, 63
    # with 3 workers, 41 with 16 workers, because every event costs every process some work. This
    # layout moves only reads and syncs off main.
    Layout(
        cpus=2,
        memory=3 * GB // 2,
        workers="""
            reader=synchrotron+initial_synchrotron+client_reader+room_reader
        """,
        why="main sends, a worker serves syncs and reads; more processes would slow both down",
    ),
    Layout(
        cpus=4,
        memory=3 * GB,
        workers="""
            sync=synchrotron+initial_synchrotron
            client=client_reader+room_reader+login+frontend_proxy
            background=background_worker+user_dir+pusher+appservice+federation_sender
        """,
        why="one worker each for syncs, reads and background tasks; one processor for PostgreSQL",
    ),
    Layout(
        cpus=8,
        memory=6 * GB,
        workers="""
            event_persister
            event_creator
            sync=synchrotron+initial_synchrotron:2
            client=client_reader+room_reader+login+frontend_proxy
            federation=federation_reader+federation_inbound+federation_sender
            background=background_worker+user_dir+pusher+appservice+media_repository
        """,
        why="creating and persisting events moves off main, the next bottleneck",
    ),
    Layout(
        cpus=16,
        memory=12 * GB,
        workers="""
            event_persister:2
            event_creator:2
            synchrotron:3
            initial_synchrotron
            client=client_reader+room_reader+login+frontend_proxy:2
            federation=federation_reader+federation_inbound:2
            federation_sender
            streams=stream_writers
            media_repository
            background=background_worker+user_dir+pusher+appservice
        """,
        why="several workers share rooms and users; writing streams moves off main",
    ),
    Layout(
        cpus=32,
        memory=24 * GB,
        workers="""
            event_persister:4
            event_creator:3
            synchrotron:6
            initial_synchrotron:2
            client_reader:2
            room_reader:2
            login=login+frontend_proxy
            federation_reader:2
            federation_inbound:2
            federation_sender:2
            streams=account_data+receipts+push_rules+thread_subscriptions
            presence
            realtime=typing+to_device
            device_lists
            media_repository
            pusher
            background=background_worker+user_dir+appservice
        """,
        why="streams have separate writers, because one for all would be the bottleneck",
    ),
    Layout(
        cpus=64,
        memory=48 * GB,
        workers="""
            event_persister:8
            event_creator:6
            synchrotron:12
            initial_synchrotron:3
            client_reader:4
            room_reader:4
            login:2
            frontend_proxy
            federation_reader:3
            federation_inbound:3
            federation_sender:4
            streams=account_data+push_rules+thread_subscriptions
            receipts:2
            presence
            typing
            to_device
            device_lists:2
            media_repository:2
            pusher:2
            appservice
            user_dir
            background_worker
        """,
        why="twice as many workers in each pool; each single writer has its own process",
    ),
)


def large_enough(layout: Layout, within: Limits) -> bool:
    """Return whether a machine has the processors and the memory that a layout needs."""
    return within.cpus >= layout.cpus and within.memory >= layout.memory


def build(
    settings: Settings, available: Limits, check_fit: Callable[[Topology], object]
) -> Topology:
    """Build the topology, with WORKERS=auto replaced by the largest layout that fits.

    `available` are the machine's limits. `check_fit` raises ConfigError for a topology that needs
    more than there is; the budget decides that, in a later stage.

    Raises ConfigError as topology.build does, and as `check_fit` does if no layout fits.
    """
    if not _automatic(settings):
        return topology.build(settings)
    if settings.partial:
        raise ConfigError([_must_be_same(settings)])
    within = limits.chosen(available, memory=settings.memory, cpus=settings.cpus)
    problem: ConfigError | None = None
    for layout in reversed([row for row in LAYOUTS if large_enough(row, within)]):
        try:
            found = topology.build(settings, layout.workers)
        except ConfigError as error:
            # A mistake in another entry of WORKERS is an error with every layout: report it once.
            problem = problem or error
            continue
        try:
            check_fit(found)
        except ConfigError as error:
            problem = error
            continue
        return replace(found, notes=(*found.notes, _note(found, within, layout)))
    if problem is None:
        raise RuntimeError("the first layout must suit every machine")
    raise problem


def _automatic(settings: Settings) -> bool:
    """Return whether WORKERS contains the preset auto, or is unset."""
    return settings.workers is None or parse_workers(settings.workers).preset == AUTO


def _must_be_same(settings: Settings) -> Problem:
    return Problem(
        variable="WORKERS",
        value=settings.workers or AUTO,
        message="would choose other workers in each container, by its memory and processors",
        hint="set WORKERS to the same text in every container, such as medium",
    )


def _note(found: Topology, within: Limits, layout: Layout) -> str:
    number = len(found.workers)
    workers = f"{number or 'no'} worker{'' if number == 1 else 's'}"
    return (
        f"WORKERS=auto runs {workers} on {within.cpus:g} CPUs and {amount(within.memory)}"
        f" of memory: {layout.why}"
    )
