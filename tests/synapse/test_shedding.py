"""A process that is busy all the time refuses clients' requests beyond its limit."""

import json
import multiprocessing
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from synapse.http import request_metrics
from synapse.http.site import SynapseRequest
from synapse.metrics._reactor_metrics import CallWrapper
from synapse.notifier import _NotifierUserStream
from twisted.internet.defer import Deferred

from ganglion.in_synapse import shedding
from ganglion.settings.variables import REQUESTS_AT_ONCE

FORK = multiprocessing.get_context("fork")
SYNC = b"/_matrix/client/v3/sync"


def clock(*, busy: bool) -> Iterator[float]:
    """Yield the times of turns of the reactor: it works, and waits."""
    now = 0.0
    while True:
        yield now
        now += 0.7
        yield now
        now += 0.0 if busy else 0.3


def taken(
    variables: dict[str, str], path: bytes, *, in_progress: int, long_polls: int, busy: bool
) -> bool:
    """Return whether a process that has so much to do takes a request."""
    rendered: list[Any] = []
    request_class: Any = SynapseRequest
    request_class.render = lambda _request, resource: rendered.append(resource)
    times = clock(busy=busy)
    shedding.prepare(variables, lambda: next(times))
    wait = CallWrapper(lambda: None)
    for _ in range(10):
        wait()
    requests: Any = request_metrics._in_flight_requests
    requests.update(range(in_progress))
    stream: Any = SimpleNamespace(current_token="t", listeners=set())
    polls = [_NotifierUserStream.new_listener(stream, cast("Any", "t")) for _ in range(long_polls)]
    assert len(stream.listeners) == len(polls)
    request_class.render(SimpleNamespace(path=path), "the resource")
    return rendered == ["the resource"]


@pytest.mark.parametrize(
    ("variables", "path", "state", "expected"),
    [
        ({}, SYNC, {"in_progress": 100}, False),
        ({}, SYNC, {"in_progress": 99}, True),
        ({}, SYNC, {"in_progress": 100, "busy": False}, True),
        ({}, SYNC, {"in_progress": 100, "long_polls": 1}, True),
        ({}, SYNC, {"in_progress": 199, "long_polls": 100}, True),
        ({}, SYNC, {"in_progress": 200, "long_polls": 100}, False),
        ({"GANGLION_REQUESTS_AT_ONCE": "2"}, SYNC, {"in_progress": 2}, False),
        ({"GANGLION_REQUESTS_AT_ONCE": "2"}, SYNC, {"in_progress": 1}, True),
        ({"GANGLION_REQUESTS_AT_ONCE": "0"}, SYNC, {"in_progress": 9999}, True),
        ({}, b"/_matrix/federation/v1/send/1", {"in_progress": 100}, True),
        ({}, b"/_synapse/replication/fed_send/1", {"in_progress": 100}, True),
        ({}, b"/_synapse/admin/v2/users", {"in_progress": 100}, True),
        ({}, b"/health", {"in_progress": 100}, True),
    ],
)
def test_only_a_client_of_a_busy_process_is_refused(
    variables: dict[str, str],
    path: bytes,
    state: dict[str, Any],
    expected: bool,  # noqa: FBT001
) -> None:
    with FORK.Pool(1) as pool:
        found = pool.apply(
            taken, (variables, path), {"busy": True, "long_polls": 0, "in_progress": 0} | state
        )
    assert found is expected


def test_a_long_poll_counts_until_it_ends() -> None:
    waiting = shedding.Waiting()
    polls = [waiting.begins(Deferred()) for _ in range(3)]
    assert waiting.number == 3
    polls[0].callback("token")
    polls[1].addErrback(lambda _: None)
    polls[1].cancel()
    assert waiting.number == 1
    done: Any = Deferred()
    done.callback(None)
    waiting.begins(done)
    assert waiting.number == 1


def test_a_pause_makes_a_process_idle_again() -> None:
    work = shedding.Work()
    assert work.share() == 0
    work.add(0.5, 0)
    # Too short a time to judge.
    assert work.share() == 0
    work.add(5, 0)
    assert work.share() == 1
    work.add(0, 1)
    assert 0.4 < work.share() < shedding.BUSY
    for _ in range(100):
        work.add(0.1, 0.005)
    assert work.share() > shedding.BUSY


def test_the_limit_is_the_default_of_the_variable() -> None:
    assert shedding.LIMIT == REQUESTS_AT_ONCE


def test_the_refusal_is_what_clients_know() -> None:
    assert json.loads(shedding.BODY)["errcode"] == "M_LIMIT_EXCEEDED"
    assert json.loads(shedding.BODY)["retry_after_ms"] == shedding.RETRY_AFTER
