"""The check of the servers to which this one sends."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.doctor.finding import Check, Finding, good, notice
from ganglion.doctor.place import Place

DAY = 24 * 3600 * 1000
# Servers that have been unreachable for longer are given up: each federating server knows many.
GIVEN_UP = 30 * DAY
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """Servers that get nothing from this one.

    `failing` have not answered for more than a day, as (name, days), and `new` is the number of
    those that stopped answering since; `standing` would answer, yet events of more than a day ago
    are not sent to them. `given_up` is the number of those that have not answered for a month.
    `admin` is the URL of the administration API, and `sender` names the processes that send.
    """

    failing: tuple[tuple[str, float], ...]
    number: int
    standing: tuple[str, ...]
    given_up: int
    admin: str
    sender: str = "main"
    new: int = 0


def observe(place: Place) -> Destinations:
    """Read Synapse's table of destinations."""
    now = int(place.now.timestamp() * 1000)
    failing = place.database.rows(
        "SELECT destination, failure_ts, count(*) OVER () FROM destinations"
        " WHERE failure_ts BETWEEN %s AND %s AND retry_interval > 0"
        " ORDER BY failure_ts LIMIT %s",
        (now - GIVEN_UP, now - DAY, SHOWN),
    )
    ((given_up, new),) = place.database.rows(
        "SELECT count(*) FILTER (WHERE failure_ts < %s), count(*) FILTER (WHERE failure_ts > %s)"
        " FROM destinations WHERE retry_interval > 0",
        (now - GIVEN_UP, now - DAY),
    )
    standing = place.database.rows(
        "SELECT d.destination FROM destinations d"
        " WHERE coalesce(d.retry_interval, 0) = 0 AND d.failure_ts IS NULL"
        " AND EXISTS (SELECT FROM destination_rooms r JOIN events e USING (stream_ordering)"
        " WHERE r.destination = d.destination AND e.received_ts < %s"
        " AND r.stream_ordering > d.last_successful_stream_ordering) LIMIT %s",
        (now - DAY, SHOWN),
    )
    senders = place.plan.topology.jobs.get("federation_sender") if place.plan else None
    return Destinations(
        failing=tuple((name, (now - since) / DAY) for name, since, _ in failing),
        number=failing[0][2] if failing else 0,
        standing=tuple(name for (name,) in standing),
        given_up=given_up,
        new=new,
        sender=" ".join(senders or ("main",)),
        admin=f"http://{place.settings.reachable_at}:{place.settings.http_port}/_synapse/admin/v1",
    )


def judge(found: Destinations) -> Iterator[Finding]:
    """Judge the destinations."""
    if found.failing:
        first = found.failing[0][0]
        names = ", ".join(f"{name} ({days:.0f} d)" for name, days in found.failing)
        more = f" and {found.number - len(found.failing)} more" if found.number > SHOWN else ""
        plural = "server has" if found.number == 1 else "servers have"
        yield notice(
            f"{found.number} {plural} not answered for more than a day: {names}{more}",
            "their users get no messages from here; they may be down, or block this server",
            "curl -f -X POST -d '{}' -H 'Authorization: Bearer TOKEN-OF-AN-ADMINISTRATOR' "
            + shlex.quote(f"{found.admin}/federation/destinations/{first}/reset_connection"),
        )
    if found.standing:
        yield notice(
            f"events of more than a day ago are not sent to {', '.join(found.standing)}, though"
            " nothing failed",
            "the process that sends to other servers stands still",
            f"ganglion restart {found.sender}",
        )
    if not found.failing and not found.standing:
        gone = f"; {found.given_up} have been gone for a month" if found.given_up else ""
        if found.new:
            # Those that have just been restarted, for one. They are tried again.
            number = "1 server does" if found.new == 1 else f"{found.new} servers do"
            yield good(f"{number} not answer, none of them for more than a day{gone}")
        else:
            yield good(f"no server has stopped answering within the last month{gone}")


CHECKS = (
    Check(
        name="destinations",
        about="other servers that have not answered for a day, or to which nothing is sent though"
        " they would",
        observe=observe,
        judge=judge,
    ),
)
