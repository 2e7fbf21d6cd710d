"""Every route leads to a process that serves it, according to the installed Synapse's servlets."""

import pytest

from ganglion.routing.nginx_maps import match
from ganglion.routing.table import table
from ganglion.topology.names import MAIN, MAIN_AS_WRITER
from ganglion.topology.roles import PRESETS, ROLES
from ganglion.topology.topology import Process, Topology
from tests.oracle.samples import Registration, load
from tests.plans import topology_of

ORACLE = load()
LAYOUTS = (*PRESETS, *(role.name for role in ROLES), "stream_writers")

# Requests that only a writer of the stream can serve: on another process, the servlet raises or the
# store asserts. Replication forwards all other writes to the writer.
# https://element-hq.github.io/synapse/latest/workers.html#stream-writers
WRITERS_ONLY: dict[tuple[str, str], str] = {
    ("PUT", "rest.client.room.RoomTypingRestServlet"): "typing",
    ("PUT", "rest.client.sendtodevice.SendToDeviceRestServlet"): "to_device",
    ("POST", "rest.client.receipts.ReceiptRestServlet"): "receipts",
    ("POST", "rest.client.read_marker.ReadMarkerRestServlet"): "receipts",
    ("GET", "rest.client.presence.PresenceStatusRestServlet"): "presence",
    ("PUT", "rest.client.push_rule.PushRuleRestServlet"): "push_rules",
    ("DELETE", "rest.client.push_rule.PushRuleRestServlet"): "push_rules",
    ("PUT", "rest.client.thread_subscriptions.ThreadSubscriptionsRestServlet"): (
        "thread_subscriptions"
    ),
    ("DELETE", "rest.client.thread_subscriptions.ThreadSubscriptionsRestServlet"): (
        "thread_subscriptions"
    ),
    ("POST", "rest.admin.media.QuarantineMediaInRoom"): "quarantined_media_changes",
    ("POST", "rest.admin.media.QuarantineMediaByUser"): "quarantined_media_changes",
    ("POST", "rest.admin.media.QuarantineMediaByID"): "quarantined_media_changes",
    ("POST", "rest.admin.media.UnquarantineMediaByID"): "quarantined_media_changes",
}

# Servlets that workers register although only main can answer: only its store has the method.
# tests/synapse/test_worker_store.py finds them, and tests/live/test_behaviour.py asks.
ONLY_MAIN_IS_ABLE = frozenset(
    {
        "federation.transport.server.OpenIdUserInfo",
        "federation.transport.server.federation.FederationUnstableGetExtremitiesServlet",
    }
)

# Requests that main serves although a worker could, with the reason and its source.
LEFT_TO_MAIN: dict[str, tuple[str, str]] = {
    "HealthResource": (
        "each process has its own; clients get that of main, and probes use each worker's socket",
        "https://element-hq.github.io/synapse/latest/reverse_proxy.html#health-check-endpoint",
    ),
}


def kinds(process: Process) -> set[str]:
    """Return the kinds of process in the oracle that a process matches."""
    if process.is_main:
        return {"main" if "media" in process.resources else "main_without_media"}
    return {f"{resource}_worker" for resource in process.resources}


def serves(process: Process, layout: Topology, registration: Registration) -> bool:
    """Return whether a process can serve the requests of a registration."""
    if not kinds(process) & set(registration.served_by):
        return False
    if registration.servlet in ONLY_MAIN_IS_ABLE:
        return process.is_main
    stream = WRITERS_ONLY.get((registration.method, registration.servlet))
    if stream is None:
        return process.is_main or not registration.denied_on_workers
    name = MAIN_AS_WRITER if process.is_main else process.name
    return name in layout.stream_writers.get(stream, (MAIN_AS_WRITER,))


def misrouted(workers: str) -> list[str]:
    """Return a line for every request that reaches a process that does not serve it."""
    layout = topology_of(workers)
    choices = table(layout)
    wrong: list[str] = []
    for registration in ORACLE:
        for method, path in registration.requests:
            choice = match(method, path, choices)
            pools = [choice.pool, *choice.fallbacks]
            wrong += [
                f"{method} {path} → {choice.route.name} → {member.name}"
                for pool in pools
                for member in pool.members
                if not serves(member, layout, registration)
            ]
    return wrong


@pytest.mark.parametrize("workers", LAYOUTS)
def test_every_request_reaches_a_process_that_serves_it(workers: str) -> None:
    assert misrouted(workers) == []


def test_with_full_main_serves_only_requests_that_no_worker_can() -> None:
    choices = table(topology_of("full"))
    missed = [
        f"{method} {path} → {choice.route.name}"
        for registration in ORACLE
        if any(kind.endswith("_worker") for kind in registration.served_by)
        and not registration.denied_on_workers
        and registration.servlet not in LEFT_TO_MAIN
        and registration.servlet not in ONLY_MAIN_IS_ABLE
        for method, path in registration.requests
        for choice in [match(method, path, choices)]
        if choice.pool.name == MAIN
    ]
    assert missed == []


def test_the_oracle_is_not_empty() -> None:
    assert len(ORACLE) > 300
    assert {kind for row in ORACLE for kind in row.served_by} == {
        "main",
        "main_without_media",
        "client_worker",
        "federation_worker",
        "media_worker",
    }


def test_the_exceptions_name_existing_servlets() -> None:
    there = {(row.method, row.servlet) for row in ORACLE}
    assert set(WRITERS_ONLY) <= there
    assert set(LEFT_TO_MAIN) | ONLY_MAIN_IS_ABLE <= {servlet for _, servlet in there}
