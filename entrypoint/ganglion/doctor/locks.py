"""The check of queries that wait for a lock in PostgreSQL."""

from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.doctor.finding import Check, Finding, bad, good
from ganglion.doctor.place import Place

# In seconds. Synapse's own transactions hold a lock for less.
LONG = 3.0
SHOWN = 3
# The sessions that hold what others wait for, and do not wait themselves. The state of another
# role's session is NULL unless the role may see it.
HOLDERS = """\
SELECT holder.pid, coalesce(nullif(holder.application_name, ''), holder.usename, '?'),
    coalesce(holder.state, 'unknown'),
    coalesce(extract(epoch FROM clock_timestamp() - holder.xact_start), 0)::int,
    count(DISTINCT waiting.pid),
    max(extract(epoch FROM clock_timestamp() - waiting.query_start))::float
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocked_by (pid)
JOIN pg_stat_activity AS holder ON holder.pid = blocked_by.pid
WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
    AND holder.wait_event_type IS DISTINCT FROM 'Lock'
GROUP BY holder.pid, 2, 3, 4
ORDER BY 6 DESC LIMIT %s"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A session that holds a lock. `age` of its transaction and the longest `wait` in seconds.

    `waiting` is the number of sessions that wait for it, `end` the command that ends it.
    """

    pid: int
    name: str
    state: str
    age: int
    waiting: int
    wait: float
    end: str


def observe(place: Place) -> tuple[Holder, ...]:
    """List the sessions for which others wait."""
    database = place.settings.postgres_db
    return tuple(
        Holder(
            pid=pid,
            name=str(name),
            state=str(state),
            age=age,
            waiting=waiting,
            wait=wait,
            end=place.administrator(
                "psql", "-d", database, "-c", f"SELECT pg_terminate_backend({pid})"
            ),
        )
        for pid, name, state, age, waiting, wait in place.database.rows(HOLDERS, (SHOWN,))
    )


def judge(found: tuple[Holder, ...]) -> Iterator[Finding]:
    """Judge the waits, without those that a busy server has for a moment."""
    long = [item for item in found if item.wait >= LONG]
    for item in long:
        queries = "query waits" if item.waiting == 1 else "queries wait"
        yield bad(
            f"{item.waiting} {queries} for a lock, for up to {item.wait:.0f} s: the session"
            f" {item.pid} of {item.name} has it ({item.state}, in a transaction for {item.age} s)",
            "requests that need the same rows or tables hang until it ends",
            f"{item.end}    # ends that session, and undoes its transaction",
        )
    if not long:
        yield good("no query waits for a lock")


CHECKS = (
    Check(
        name="locks",
        about="queries that wait for a lock, and the session that holds it",
        observe=observe,
        judge=judge,
    ),
)
