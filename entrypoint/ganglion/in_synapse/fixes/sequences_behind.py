"""Move all sequences forward, if one is behind the positions of its stream.

Synapse does so itself for a sequence that is behind a table. For one that is behind
`stream_positions` it refuses to start, and proposes to delete the positions, at each start anew.
Such a sequence would give out numbers a second time; to leave some out is harmless. After a
failover to a PostgreSQL server that does not replicate sequences, all of them are behind, those of
columns too, which Synapse never checks.
"""

import logging
from typing import TYPE_CHECKING, Any

from synapse.storage.engines._base import IncorrectDatabaseSetup
from synapse.storage.util.sequence import PostgresSequenceGenerator

from ganglion.in_synapse.fixes.source import digest

if TYPE_CHECKING:
    from ganglion.programs.postgres.sequences import State

# It shows how a change of the primary leaves sequences 32 behind.
REFERENCE = "https://github.com/element-hq/synapse/issues/18544"

logger = logging.getLogger(__name__)


def fits() -> bool:
    """Return whether sequences are checked as this module knows it."""
    return digest(PostgresSequenceGenerator.check_consistency) == "66df217b6aa72138"


def apply() -> None:
    """Replace the error by the repair."""
    generator: Any = PostgresSequenceGenerator
    check = generator.check_consistency

    def mend(
        self: Any,
        db_conn: Any,
        table: str,
        id_column: str,
        stream_name: str | None = None,
        positive: bool = True,  # noqa: FBT001, FBT002 - Synapse's
    ) -> None:
        try:
            check(self, db_conn, table, id_column, stream_name, positive)
        except IncorrectDatabaseSetup as error:
            _move(db_conn, error)

    generator.check_consistency = mend


def _move(db_conn: Any, error: Exception) -> None:
    """Move each sequence to the greatest number in use. Raises IncorrectDatabaseSetup."""
    # No process needs this module but main, after a failover.
    from ganglion.programs.postgres.sequences import forward, repair, states  # noqa: PLC0415

    cursor = db_conn.cursor(txn_name="ganglion.sequences_behind")

    def rows(statement: str) -> list[tuple[Any, ...]]:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description is not None else []

    found: tuple[State, ...] = ()
    try:
        # Synapse may have moved one already, as far as its tables require.
        found = states(rows)
        moved = repair(rows, found)
        cursor.close()
        # Other connections wait for these sequences until then.
        db_conn.commit()
    except db_conn.engine.module.Error as reason:
        db_conn.rollback()
        behind = tuple(state for state in found if state.behind)
        statements = (
            line for item in behind for line in forward(item.sequence.name, item.greatest)
        )
        raise IncorrectDatabaseSetup(
            f"{'; '.join(map(_words, behind))}. They would give out numbers again, and cannot be"
            f" moved forward: {str(reason).strip()}. As their owner, run: BEGIN;"
            f" {'; '.join(statements)}; COMMIT;"
        ) from error
    for state in moved:
        logger.warning(
            "%s; it would have given out numbers again. It was moved forward; see"
            " docs/troubleshooting.md",
            _words(state),
        )


def _words(state: "State") -> str:
    where = f"stream_positions of {state.sequence.stream}"
    if state.used > state.position:
        where = state.where
    name = state.sequence.name
    return f"The sequence {name} was at {state.value}, behind {state.greatest} in {where}"
