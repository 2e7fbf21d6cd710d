"""The table of routes as rows that any proxy can follow: the first that matches decides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ganglion.routing.table import Choice, Key
from ganglion.topology.names import MAIN
from ganglion.topology.topology import Topology

# A path of /sync alone: the row `sync` of the table has /events too.
SYNC = "/_matrix/client/(r0|v3|unstable)/sync$"
# Requests for one room have its ID behind one of these: client requests, then federation requests.
ROOM = (
    "^/_matrix/client/.*?/(?:rooms|join|knock|room_summary|summary)/([^/?]+)",
    r"^/_matrix/federation/(?:unstable/[^/]*\.[^/]*|[^/]+)/[^/]+/([^/?]+)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row: requests of these methods (all if empty) whose raw path matches `path` go to `pool`.

    `without_since` limits it to requests without a value of `since`, `full_state` to those with
    full_state=true. `fallback` is the pool that takes over if all workers of the pool are down.
    """

    name: str
    methods: tuple[str, ...]
    path: str
    pool: str
    fallback: str | None = None
    without_since: bool = False
    full_state: bool = False

    @property
    def pattern(self) -> str:
        """The regular expression for the path, which RE2 and PCRE both take."""
        return f"^{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A pool: its processes' names and addresses, and the key by which one of them is picked."""

    name: str
    key: Key
    members: tuple[tuple[str, str], ...]


def rows(choices: Sequence[Choice]) -> tuple[Row, ...]:
    """Return the rows in order. Requests that none of them matches go to main."""
    return tuple(_rows(choices))


def _rows(choices: Sequence[Choice]) -> Iterator[Row]:
    initial = next((item for item in choices if item.route.name == "initial_sync"), None)
    for choice in choices:
        if choice.route.name == MAIN:
            continue
        row = _row(choice)
        if choice.route.name == "sync" and initial is not None:
            first = replace(_row(initial), methods=row.methods, path=SYNC)
            yield replace(first, name="sync_full_state", full_state=True)
            yield replace(first, name="sync_without_since", without_since=True)
        yield row


def _row(choice: Choice) -> Row:
    methods = choice.route.methods
    # Synapse treats HEAD as GET.
    if "GET" in methods:
        methods = (*methods, "HEAD")
    return Row(
        name=choice.route.name,
        methods=methods,
        path=choice.route.path,
        pool=choice.pool.upstream,
        fallback=None if choice.fallback is None else choice.fallback.upstream,
    )


def backends(choices: Sequence[Choice], topology: Topology) -> tuple[Backend, ...]:
    """Return every pool that rows name, and main."""
    main = Backend(name=MAIN, key=Key.NONE, members=((MAIN, str(topology.main.http)),))
    found = {MAIN: main}
    for choice in choices:
        for pool in (choice.pool, *choice.fallbacks):
            found.setdefault(
                pool.upstream,
                Backend(
                    name=pool.upstream,
                    key=pool.key,
                    members=tuple((item.name, str(item.http)) for item in pool.members),
                ),
            )
    return tuple(found.values())
