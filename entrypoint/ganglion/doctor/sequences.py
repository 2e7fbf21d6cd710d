"""The check of the sequences behind Synapse's streams, and their safe repair.

After a failover of PostgreSQL or a partial restore, a sequence can be behind the positions that it
has given out. Synapse then refuses to start, or gives an ID twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg2.errors

from ganglion.doctor.finding import Check, Finding, bad, good
from ganglion.doctor.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A sequence, the stream that it numbers, and the columns that hold its numbers.

    A stream of negative numbers, as that of history, has `negative`.
    """

    name: str
    stream: str | None
    columns: tuple[tuple[str, str], ...]
    negative: bool = False


def _one(name: str, stream: str | None, *columns: str, negative: bool = False) -> Sequence:
    pairs = (column.partition(".") for column in columns)
    return Sequence(
        name=name,
        stream=stream,
        columns=tuple((table, column) for table, _, column in pairs),
        negative=negative,
    )


# From the constructors of MultiWriterIdGenerator and build_sequence_generator in
# synapse/storage/databases; tests/synapse/test_sequences.py compares.
SEQUENCES: tuple[Sequence, ...] = (
    _one(
        "events_stream_seq",
        "events",
        "events.stream_ordering",
        "current_state_delta_stream.stream_id",
        "ex_outlier_stream.event_stream_ordering",
    ),
    _one(
        "events_backfill_stream_seq",
        "backfill",
        "events.stream_ordering",
        "ex_outlier_stream.event_stream_ordering",
        negative=True,
    ),
    _one(
        "account_data_sequence",
        "account_data",
        "room_account_data.stream_id",
        "room_tags_revisions.stream_id",
        "account_data.stream_id",
    ),
    _one("receipts_sequence", "receipts", "receipts_linearized.stream_id"),
    _one("presence_stream_sequence", "presence_stream", "presence_stream.stream_id"),
    _one(
        "device_inbox_sequence",
        "to_device",
        "device_inbox.stream_id",
        "device_federation_outbox.stream_id",
    ),
    _one(
        "device_lists_sequence",
        "device_lists_stream",
        "device_lists_stream.stream_id",
        "user_signature_stream.stream_id",
        "device_lists_outbound_pokes.stream_id",
        "device_lists_changes_in_room.stream_id",
        "device_lists_remote_pending.stream_id",
        "device_lists_changes_converted_stream_position.stream_id",
    ),
    _one(
        "e2e_cross_signing_keys_sequence",
        "e2e_cross_signing_keys",
        "e2e_cross_signing_keys.stream_id",
    ),
    _one(
        "cache_invalidation_stream_seq",
        "caches",
        "cache_invalidation_stream_by_instance.stream_id",
    ),
    _one("push_rules_stream_sequence", "push_rules_stream", "push_rules_stream.stream_id"),
    _one("pushers_sequence", "pushers", "pushers.id", "deleted_pushers.stream_id"),
    _one(
        "un_partial_stated_event_stream_sequence",
        "un_partial_stated_event_stream",
        "un_partial_stated_event_stream.stream_id",
    ),
    _one(
        "un_partial_stated_room_stream_sequence",
        "un_partial_stated_room_stream",
        "un_partial_stated_room_stream.stream_id",
    ),
    _one("thread_subscriptions_sequence", "thread_subscriptions", "thread_subscriptions.stream_id"),
    _one("sticky_events_sequence", "sticky_events", "sticky_events.stream_id"),
    _one("profile_updates_sequence", "profile_updates", "profile_updates.stream_id"),
    _one("quarantined_media_id_seq", "quarantined_media", "quarantined_media_changes.stream_id"),
    _one("event_auth_chain_id", None, "event_auth_chains.chain_id"),
    _one("application_services_txn_id_seq", None, "application_services_txns.txn_id"),
    _one("state_group_id_seq", None, "state_groups.id"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """A sequence whose last number is lower than one that is in use at `where`."""

    sequence: str
    last: int
    used: int
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The sequences that are behind, the number of all, and the command that repairs them."""

    behind: tuple[Behind, ...]
    number: int
    repair: str = ""
    complete: bool = True


def observe(place: Place) -> Found:
    """Compare every sequence with the positions of its stream and with its tables."""
    database = place.database
    # An older or a newer schema lacks some.
    there = {name for (name,) in database.rows("SELECT relname::text FROM pg_class")}
    present = [item for item in SEQUENCES if item.name in there]
    if not present:
        return Found(behind=(), number=0)
    # The names of sequences and tables are those of the table above.
    last: dict[str, int] = dict(
        database.rows(
            " UNION ALL ".join(
                f"SELECT '{item.name}', last_value - CASE WHEN is_called THEN 0 ELSE 1 END"  # noqa: S608
                f" FROM {item.name}"
                for item in present
            )
        )
    )
    positions = {
        stream: max(highest, -lowest)
        for stream, highest, lowest in database.rows(
            "SELECT stream_name, max(stream_id), min(stream_id) FROM stream_positions"
            " GROUP BY stream_name"
        )
    }
    used = [
        (item.name, positions.get(item.stream, 0), f"stream_positions of {item.stream}")
        for item in present
        if item.stream is not None
    ]
    complete = True
    for item in present:
        for table, column in item.columns:
            highest = f"-min({column})" if item.negative else f"max({column})"
            if table not in there:
                continue
            try:
                ((found,),) = database.rows(f"SELECT {highest} FROM {table}")  # noqa: S608
            except (psycopg2.errors.QueryCanceled, psycopg2.errors.LockNotAvailable):
                complete = False
                continue
            used.append((item.name, found or 0, f"{table}.{column}"))
    behind = _behind(last, used)
    statements = [
        # Forward only, whatever happens in between.
        f"SELECT setval('{item.sequence}', GREATEST((SELECT last_value FROM {item.sequence}),"  # noqa: S608
        f" {item.used}))"
        for item in behind
    ]
    repair = place.psql(*statements) if statements else ""
    return Found(behind=behind, number=len(present), repair=repair, complete=complete)


def _behind(last: dict[str, int], used: list[tuple[str, int, str]]) -> tuple[Behind, ...]:
    """Return each sequence that is behind once, with the highest number in use."""
    found: dict[str, Behind] = {}
    for name, number, where in used:
        before = found.get(name)
        if number > last[name] and (before is None or number > before.used):
            found[name] = Behind(sequence=name, last=last[name], used=number, where=where)
    return tuple(found.values())


def judge(found: Found) -> Iterator[Finding]:
    """Judge the sequences."""
    for item in found.behind:
        yield bad(
            f"the sequence {item.sequence} is at {item.last}, behind {item.used} in {item.where}",
            "Synapse refuses to start, or gives an ID twice and loses the row that had it",
            found.repair,
        )
    if not found.behind:
        partly = "" if found.complete else "; large tables were left out for lack of time"
        yield good(f"none of {found.number} sequences is behind its stream{partly}")


CHECKS = (
    Check(
        name="sequences",
        about="the sequences behind stream positions and tables, with the `setval` that only moves"
        " them forward",
        observe=observe,
        judge=judge,
    ),
)
