"""Checks of Synapse's data in the database: background updates, bloat, state groups, destinations.

Sizes are estimates from PostgreSQL's statistics and from samples: counting would take minutes.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.doctor.configuration import synapse_directory
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import Place
from ganglion.programs.postgres.cluster import literal

# In seconds. Synapse works on a background update at least once a second.
BETWEEN_LOOKS = 1.3
# A table is bloated from so many dead rows, if they are such a part of all.
DEAD_ROWS, DEAD_PART = 50_000, 0.3
# Of the 2 billion transactions after which PostgreSQL stops. Autovacuum starts at 200 million.
OLD_TRANSACTIONS = 1_000_000_000
# State groups in a sample, and the part and number of unreferenced ones to report.
SAMPLE, UNREFERENCED_PART, UNREFERENCED = 2000, 0.1, 10_000
# Rows of a state group after compression: of its difference to another one.
COMPRESSED_ROWS = 3
# The gain from which compression is worth it: bytes, and a part of the table.
GAIN, GAIN_PART = 1024**3, 0.5
MARK = "mark_unreferenced_state_groups_for_deletion_bg_update"


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """The background updates that are left, those that Synapse does not know, and their repair."""

    left: tuple[str, ...]
    unknown: tuple[str, ...]
    moving: bool
    running: bool
    progress: str = ""
    delete: tuple[str, ...] = ()


def observe_updates(place: Place) -> Updates:
    """Look twice: an update that is worked on changes in between."""
    look = "SELECT update_name, progress_json FROM background_updates ORDER BY ordering"
    first = place.database.rows(look)
    if not first:
        return Updates(left=(), unknown=(), moving=False, running=place.running)
    left = tuple(item for item, _ in first)
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in (synapse_directory() / "storage").rglob("*.py")
    )
    unknown = tuple(item for item in left if f'"{item}"' not in text and f"'{item}'" not in text)
    moving = False
    if place.running and len(unknown) < len(left):
        time.sleep(BETWEEN_LOOKS)
        making = place.database.rows("SELECT 1 FROM pg_stat_progress_create_index")
        moving = bool(making) or place.database.rows(look) != first
    return Updates(
        left=left,
        unknown=unknown,
        moving=moving,
        running=place.running,
        progress=place.psql("SELECT update_name, progress_json FROM background_updates"),
        delete=tuple(
            place.psql(f"DELETE FROM background_updates WHERE update_name = {literal(item)}")  # noqa: S608 - quoted
            for item in unknown
        ),
    )


def judge_updates(found: Updates) -> Iterator[Finding]:
    """Judge background updates that nobody works on."""
    for item, command in zip(found.unknown, found.delete, strict=True):
        yield bad(
            f"the background update {item} is not one of the installed Synapse",
            "Synapse fails at it again and again, and does none that comes after it",
            command,
            "ganglion restart main",
        )
    known = [item for item in found.left if item not in found.unknown]
    if known and found.moving:
        yield good(f"{len(known)} background updates are being worked on: {', '.join(known[:3])}")
    elif known:
        repair = ("ganglion restart main",) if found.running else ("ganglion run",)
        yield notice(
            f"{len(known)} background updates are left and nobody works on them:"
            f" {', '.join(known[:5])}",
            "searches and statistics may be incomplete, and queries slow, until they are done",
            *repair,
            f"{found.progress}    # shows their progress",
        )
    elif not found.unknown:
        yield good("no background update is left")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with dead rows, and the command that removes them."""

    name: str
    live: int
    dead: int
    size: int
    repair: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bloat:
    """Bloated tables, and the age of the oldest transaction that is not frozen."""

    tables: tuple[Table, ...]
    age: int
    freeze: str


def observe_bloat(place: Place) -> Bloat:
    """Read PostgreSQL's statistics."""
    rows = place.database.rows(
        "SELECT relid::regclass::text, n_live_tup, n_dead_tup, pg_total_relation_size(relid)"
        " FROM pg_stat_user_tables WHERE n_dead_tup > %s"
        " AND n_dead_tup > %s * (n_live_tup + n_dead_tup) ORDER BY n_dead_tup DESC LIMIT 5",
        (DEAD_ROWS, DEAD_PART),
    )
    ((age,),) = place.database.rows(
        "SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()"
    )
    tables = tuple(
        Table(
            name=label,
            live=live,
            dead=dead,
            size=size,
            repair=place.psql(f"VACUUM (ANALYZE) {label}"),
        )
        for label, live, dead, size in rows
    )
    freeze = place.administrator("vacuumdb", "--freeze", "-d", place.settings.postgres_db)
    return Bloat(tables=tables, age=age, freeze=freeze)


def judge_bloat(found: Bloat) -> Iterator[Finding]:
    """Judge dead rows and old transactions."""
    for table in found.tables:
        yield notice(
            f"{table.name} has {table.dead} dead rows beside {table.live} live ones, in"
            f" {megabytes(table.size)}",
            "queries read them all; autovacuum is late, or an old transaction holds them",
            table.repair,
        )
    if found.age > OLD_TRANSACTIONS:
        yield bad(
            f"the oldest transaction is {found.age:,} transactions old".replace(",", " "),
            "at 2 147 000 000 PostgreSQL accepts no more writes",
            found.freeze,
        )
    if not found.tables and found.age <= OLD_TRANSACTIONS:
        yield good("no table has many dead rows")


def megabytes(size: float) -> str:
    """Format a number of bytes."""
    unit = 1024**3
    return f"{size / unit:.1f} GB" if size >= unit else f"{size / 1024**2:.0f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateGroups:
    """Estimates of the state groups in the database.

    `sampled` groups were looked at; `unreferenced` of them are used by nothing, and `whole` hold
    the whole state of a room rather than a difference. `groups`, `rows` and `rooms` are the numbers
    of all, `size` is in bytes.
    """

    sampled: int
    unreferenced: int
    whole: int
    groups: int
    rows: int
    rooms: int
    size: int
    mark: str = ""


def observe_state_groups(place: Place) -> StateGroups:
    """Take a sample of the state groups, once for both checks."""
    found: StateGroups = place.state_groups.get(lambda: _sample(place))
    return found


def _sample(place: Place) -> StateGroups:
    numbers = dict(
        place.database.rows(
            "SELECT relname::text, greatest(reltuples, 0)::bigint FROM pg_class"
            " WHERE relname IN ('state_groups', 'state_groups_state', 'rooms') AND relkind = 'r'"
        )
    )
    groups = numbers.get("state_groups", 0)
    ((size,),) = place.database.rows("SELECT pg_total_relation_size('state_groups_state')")
    percent = 100.0 if groups <= 10 * SAMPLE else max(0.001, 200.0 * SAMPLE / groups)
    # The newest may belong to an event that is being written.
    ((sampled, unreferenced, whole),) = place.database.rows(
        "WITH sample AS (SELECT id FROM state_groups TABLESAMPLE SYSTEM (%s)"
        " WHERE id < (SELECT max(id) - 100 FROM state_groups) ORDER BY random() LIMIT %s)"
        " SELECT count(*), count(*) FILTER (WHERE"
        " NOT EXISTS (SELECT FROM event_to_state_groups WHERE state_group = id)"
        " AND NOT EXISTS (SELECT FROM state_group_edges WHERE prev_state_group = id)"
        " AND NOT EXISTS (SELECT FROM state_groups_pending_deletion WHERE state_group = id)),"
        " count(*) FILTER (WHERE"
        " NOT EXISTS (SELECT FROM state_group_edges e WHERE e.state_group = id)) FROM sample",
        (percent, SAMPLE),
    )
    statement = (
        "INSERT INTO background_updates (ordering, update_name, progress_json)"  # noqa: S608
        f" VALUES (9002, {literal(MARK)}, '{{}}') ON CONFLICT DO NOTHING"
    )
    return StateGroups(
        sampled=sampled,
        unreferenced=unreferenced,
        whole=whole,
        groups=max(groups, sampled),
        rows=numbers.get("state_groups_state", 0),
        rooms=numbers.get("rooms", 0),
        size=size,
        mark=place.psql(statement),
    )


def judge_unreferenced(found: StateGroups) -> Iterator[Finding]:
    """Judge the state groups that nothing uses."""
    part = found.unreferenced / found.sampled if found.sampled else 0.0
    number = round(part * found.groups)
    if part > UNREFERENCED_PART and number > UNREFERENCED:
        yield notice(
            f"about {number} of {found.groups} state groups are used by nothing",
            f"they take about {megabytes(part * found.size)} of the disk and slow down backups",
            found.mark,
            "ganglion restart main    # it marks them, and deletes them in the days after",
        )
    else:
        yield good(f"about {number} of {found.groups} state groups are used by nothing")


def gain(found: StateGroups) -> float:
    """Estimate the bytes that compressing the state groups frees.

    A room needs its whole state once, and after that differences of a few rows.
    """
    if not found.sampled or not found.whole or not found.rows:
        return 0.0
    wholes = found.whole / found.sampled * found.groups
    of_differences = (found.groups - wholes) * COMPRESSED_ROWS
    size_of_whole = max(0.0, found.rows - of_differences) / wholes
    compressed = min(wholes, max(found.rooms, 1)) * size_of_whole + found.groups * COMPRESSED_ROWS
    return max(0.0, found.rows - compressed) / found.rows * found.size


def judge_compression(found: StateGroups) -> Iterator[Finding]:
    """Judge how much compressing the state groups would gain."""
    bytes_gained = gain(found)
    if bytes_gained > GAIN and bytes_gained > GAIN_PART * found.size:
        yield notice(
            f"state_groups_state takes {megabytes(found.size)}, of which compressing would free"
            f" about {megabytes(bytes_gained)}",
            "the disk and backups are larger than they need to be",
            "synapse_auto_compressor -p postgresql://… -c 500 -n 100    # of",
            "https://github.com/matrix-org/rust-synapse-compress-state, while the server runs",
        )
    else:
        yield good(
            f"state_groups_state takes {megabytes(found.size)}; compressing would free about"
            f" {megabytes(bytes_gained)}"
        )


CHECKS = (
    Check(
        name="background-updates",
        about="background updates that are left and that nobody works on, or that the installed"
        " Synapse does not know",
        observe=observe_updates,
        judge=judge_updates,
    ),
    Check(
        name="bloat",
        about="tables with many dead rows, and transactions that PostgreSQL must freeze",
        observe=observe_bloat,
        judge=judge_bloat,
    ),
    Check(
        name="state-groups",
        about="state groups that nothing references, from a sample",
        observe=observe_state_groups,
        judge=judge_unreferenced,
    ),
    Check(
        name="compression",
        about="the space that compressing the state groups would free, from a sample",
        observe=observe_state_groups,
        judge=judge_compression,
    ),
)
