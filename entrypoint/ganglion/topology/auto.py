"""What WORKERS=auto comes to: a table of layouts, from main alone to sharded pools."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ganglion.errors import ConfigError
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
    """One row: a text of WORKERS, the processors and the bytes of memory from which on it is
    picked, and why it is as it is.
    """

    cpus: float
    memory: int
    workers: str
    why: str


# Smallest first; the last row that the machine is large enough for is picked, if its plan fits.
# Synapse's processes share one processor each at the most, and each event costs every one of them
# some work, so fewer of them than processors leave room for PostgreSQL and nginx.
LAYOUTS: tuple[Layout, ...] = (
    Layout(
        cpus=0,
        memory=0,
        workers="",
        why="one process has no second copy of anything, and nobody to wait for",
    ),
    # Synapse's own worker image on 2 processors: main alone sent 68 messages/s, 3 workers 63, 16
    # workers 41, as each event costs every process some work. Reads and syncs are another's here.
    Layout(
        cpus=2,
        memory=3 * GB // 2,
        workers="""
            reader=synchrotron+initial_synchrotron+client_reader+room_reader
        """,
        why="syncs and reads leave main to its sending; more processes only take time from both",
    ),
    Layout(
        cpus=4,
        memory=3 * GB,
        workers="""
            sync=synchrotron+initial_synchrotron
            client=client_reader+room_reader+login+frontend_proxy
            background=background_worker+user_dir+pusher+appservice+federation_sender
        """,
        why="syncs, reads and what nobody waits for each beside main, a processor for PostgreSQL",
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
        why="events are made and written beside main, which is the next to be full",
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
        why="rooms and users are spread over several of each, streams leave main",
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
        why="streams of their own, as one writer of all would be full before the readers are",
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
        why="each pool twice as wide, each single writer alone on its process",
    ),
)


def large_enough(layout: Layout, within: Limits) -> bool:
    """Whether a machine has the processors and the memory that a layout is meant for."""
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
        raise RuntimeError("the first layout is for any machine")
    raise problem


def _automatic(settings: Settings) -> bool:
    """Whether the preset auto is in WORKERS, or nothing at all."""
    return settings.workers is None or parse_workers(settings.workers).preset == AUTO


def _note(found: Topology, within: Limits, layout: Layout) -> str:
    number = len(found.workers)
    workers = "main alone" if not number else f"{number} worker{'s' if number > 1 else ''}"
    return (
        f"WORKERS=auto is {workers} with {within.cpus:g} CPUs and {amount(within.memory)}"
        f" of memory: {layout.why}"
    )
