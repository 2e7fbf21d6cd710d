"""The proof that every route leads to a process that serves it, for the installed Synapse."""

import pytest

from ganglion.routing.nginx_maps import match
from ganglion.routing.table import table
from ganglion.settings import environment
from ganglion.topology import topology
from ganglion.topology.names import MAIN, MAIN_AS_WRITER
from ganglion.topology.roles import PRESETS, ROLES
from ganglion.topology.topology import Process, Topology
from tests.oracle.samples import Registration, load

ORACLE = load()
LAYOUTS = (*PRESETS, *(role.name for role in ROLES), "stream_writers")

# What only a writer of the stream can do: on another process the servlet raises, or the store
# asserts. Everything else of a stream is passed on to its writer by replication.
# https://element-hq.github.io/synapse/latest/workers.html#stream-writers
WRITERS_ONLY: dict[tuple[str, str], str] = {
    ("PUT", "rest.client.room.RoomTypingRestServlet"): "typing",
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

# What a worker could serve and main serves all the same, with the reason and where it is said.
LEFT_TO_MAIN: dict[str, tuple[str, str]] = {
    "HealthResource": (
        "it is each process's own; clients are told of main's, workers are asked at their sockets",
        "https://element-hq.github.io/synapse/latest/reverse_proxy.html#health-check-endpoint",
    ),
}


def plan(workers: str) -> Topology:
    """The topology of a text of WORKERS."""
    return topology.build(environment.from_environ({"WORKERS": workers}, str))


def kinds(process: Process) -> set[str]:
    """The oracle's kinds that a process is."""
    if process.is_main:
        return {"main" if "media" in process.resources else "main_without_media"}
    return {f"{resource}_worker" for resource in process.resources}


def serves(process: Process, layout: Topology, registration: Registration) -> bool:
    """Whether a process can answer the requests of a registration."""
    if not kinds(process) & set(registration.served_by):
        return False
    stream = WRITERS_ONLY.get((registration.method, registration.servlet))
    if stream is None:
        return process.is_main or not registration.denied_on_workers
    name = MAIN_AS_WRITER if process.is_main else process.name
    return name in layout.stream_writers.get(stream, (MAIN_AS_WRITER,))


def misrouted(workers: str) -> list[str]:
    """Every request that reaches a process which does not serve it, as a line to read."""
    layout = plan(workers)
    choices = table(layout)
    wrong: list[str] = []
    for registration in ORACLE:
        for method, path in registration.requests:
            choice = match(method, path, choices)
            pools = [choice.pool, *([choice.fallback] if choice.fallback else [])]
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


def test_full_leaves_main_nothing_that_a_worker_could_serve() -> None:
    choices = table(plan("full"))
    missed = [
        f"{method} {path} → {choice.route.name}"
        for registration in ORACLE
        if any(kind.endswith("_worker") for kind in registration.served_by)
        and not registration.denied_on_workers
        and registration.servlet not in LEFT_TO_MAIN
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


def test_exceptions_are_of_servlets_that_exist() -> None:
    there = {(row.method, row.servlet) for row in ORACLE}
    assert set(WRITERS_ONLY) <= there
    assert set(LEFT_TO_MAIN) <= {servlet for _, servlet in there}
