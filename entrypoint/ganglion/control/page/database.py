"""Facts of the database that the page shows: background updates, destinations, media."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganglion.control.probes import sql
from ganglion.settings.variables import Settings

# In seconds.
TIMEOUT = 2.0
UPDATES = """\
SELECT update_name, left(progress_json, 4000), ordering,
    (SELECT max(stream_ordering) FROM events)
FROM background_updates ORDER BY ordering, update_name LIMIT 30"""
DESTINATIONS = """\
SELECT destination, failure_ts, retry_last_ts + retry_interval, count(*) OVER ()
FROM destinations WHERE retry_interval > 0 AND failure_ts IS NOT NULL
ORDER BY failure_ts DESC LIMIT 30"""
# Of all media, so it is asked rarely. The times are in milliseconds.
MEDIA = """\
SELECT coalesce(sum(length) FILTER (WHERE own), 0)::bigint,
    coalesce(sum(length) FILTER (WHERE NOT own), 0)::bigint,
    coalesce(sum(length) FILTER (WHERE own AND new), 0)::bigint,
    coalesce(sum(length) FILTER (WHERE NOT own AND new), 0)::bigint
FROM (
    SELECT true AS own, media_length AS length,
        created_ts >= extract(epoch FROM now() - interval '1 day') * 1000 AS new
    FROM local_media_repository
    UNION ALL
    SELECT false, media_length,
        created_ts >= extract(epoch FROM now() - interval '1 day') * 1000
    FROM remote_media_cache
) AS media"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A background update. `done` is the part that is done, None if that is unknown."""

    name: str
    done: float | None
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A server that cannot be reached since a Unix time, and when it is tried again, in seconds."""

    name: str
    since: float
    again: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """Bytes of the media of this server's users and of the copies of other servers' media.

    `new_` are those of the last day.
    """

    local: int
    remote: int
    new_local: int
    new_remote: int


def updates(settings: Settings) -> list[Update]:
    """Return the first background updates. Raises psycopg2.Error."""
    (found,) = sql.rows(settings, (UPDATES,), TIMEOUT)
    return [_update(str(name), text, newest) for name, text, _, newest in found]


def _update(name: str, text: str, newest: int | None) -> Update:
    try:
        progress = json.loads(text)
    except ValueError:
        progress = {}
    if not isinstance(progress, dict):
        progress = {}
    rows = progress.get("rows_inserted")
    return Update(
        name=name,
        done=done(progress, newest),
        rows=rows if isinstance(rows, int) and not isinstance(rows, bool) else None,
    )


def done(progress: Mapping[str, Any], newest: int | None) -> float | None:
    """Return the part that is done of an update that goes through events from the newest to the
    oldest, as most do; None for others.
    """
    low, high = (
        progress.get("target_min_stream_id_inclusive"),
        progress.get("max_stream_id_exclusive"),
    )
    if not isinstance(low, int) or not isinstance(high, int) or newest is None or newest <= low:
        return None
    return min(1.0, max(0.0, 1 - (high - low) / (newest - low)))


def destinations(settings: Settings) -> tuple[list[Destination], int]:
    """Return the servers that became unreachable last, and the number of all."""
    (found,) = sql.rows(settings, (DESTINATIONS,), TIMEOUT)
    items = [
        Destination(name=str(name), since=since / 1000, again=again / 1000)
        for name, since, again, _ in found
    ]
    return items, int(found[0][3]) if found else 0


def media(settings: Settings) -> Media:
    """Return how much media there is. Raises psycopg2.Error."""
    (((local, remote, new_local, new_remote),),) = sql.rows(settings, (MEDIA,), TIMEOUT)
    return Media(
        local=int(local),
        remote=int(remote),
        new_local=int(new_local),
        new_remote=int(new_remote),
    )
