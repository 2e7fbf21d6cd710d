"""The basics of PostgreSQL and Redis, as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ganglion.control.probes import redis_protocol, sql
from ganglion.settings.variables import Settings

# In seconds.
TIMEOUT = 2.0
DATABASE = """\
SELECT xact_commit, xact_rollback, blks_read, blks_hit, tup_returned, tup_fetched, tup_inserted,
    tup_updated, tup_deleted, deadlocks, temp_bytes, pg_database_size(datname),
    current_setting('max_connections')::int
FROM pg_stat_database WHERE datname = current_database()"""
# Another role's connections have no state for ours. The longest transaction is in seconds.
CONNECTIONS = """\
SELECT coalesce(state, 'other'), count(*),
    coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1"""
UPDATES = "SELECT count(*) FROM background_updates"
# The columns of DATABASE that only grow.
COUNTERS = (
    "commits",
    "rollbacks",
    "blocks_read",
    "blocks_hit",
    "rows_returned",
    "rows_fetched",
    "rows_inserted",
    "rows_updated",
    "rows_deleted",
    "deadlocks",
    "temporary_bytes",
)
# Of Redis's INFO, each with the name that it has here.
REDIS_GAUGES = MappingProxyType(
    {
        "connected_clients": "clients",
        "blocked_clients": "blocked_clients",
        "used_memory": "memory_bytes",
        "used_memory_rss": "resident_bytes",
        "pubsub_channels": "channels",
        "instantaneous_ops_per_sec": "commands_per_second",
    }
)
REDIS_COUNTERS = MappingProxyType(
    {
        "total_connections_received": "connections",
        "total_commands_processed": "commands",
        "rejected_connections": "rejected_connections",
        "evicted_keys": "evicted_keys",
        "keyspace_hits": "hits",
        "keyspace_misses": "misses",
        "total_net_input_bytes": "received_bytes",
        "total_net_output_bytes": "sent_bytes",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """`size` is in bytes, `longest` the age of the oldest transaction in seconds.

    `counters` grow since the statistics were reset. `connections` are by their state.
    """

    counters: Mapping[str, float]
    size: int
    most_connections: int
    connections: Mapping[str, int]
    longest: float
    background_updates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """The numbers of INFO that are there, by the names above."""

    gauges: Mapping[str, float]
    counters: Mapping[str, float]


def uses_postgres(settings: Settings) -> bool:
    """Return whether a part of this server asks PostgreSQL."""
    return settings.sqlite is None and settings.uses_stores


def postgres(settings: Settings) -> Postgres:
    """Ask PostgreSQL. Raises psycopg2.Error."""
    found = sql.rows(settings, (DATABASE, CONNECTIONS, UPDATES), TIMEOUT)
    ((*numbers, size, most),), states, ((updates,),) = found
    return Postgres(
        counters=dict(zip(COUNTERS, map(float, numbers), strict=True)),
        size=int(size),
        most_connections=int(most),
        connections={str(state): int(number) for state, number, _ in states},
        longest=max((float(age) for *_, age in states), default=0.0),
        background_updates=int(updates),
    )


def redis(settings: Settings) -> Redis:
    """Ask Redis. Raises Refused and OSError."""
    return read_info(str(redis_protocol.ask(settings, ("INFO",), TIMEOUT)))


def read_info(text: str) -> Redis:
    """Read the answer to INFO: https://redis.io/docs/latest/commands/info/"""
    values: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in REDIS_GAUGES or name in REDIS_COUNTERS:
            try:
                values[name] = float(value)
            except ValueError:
                continue
    return Redis(
        gauges={here: values[name] for name, here in REDIS_GAUGES.items() if name in values},
        counters={here: values[name] for name, here in REDIS_COUNTERS.items() if name in values},
    )
