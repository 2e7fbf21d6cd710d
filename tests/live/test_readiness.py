"""Readiness sees each fault of a real server, and sees that it is gone."""

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ganglion.control.health import readiness
from ganglion.plan import read_settings, running_topology
from tests.certificates import Authority
from tests.faults import CASES, READER, VARIABLES, WORKERS, Case, frozen, prepare, read_only
from tests.harness import Server, wait_until
from tests.raw_http import raw_request


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with Server(WORKERS, VARIABLES) as found:
        prepare(found, authority)
        found.start()
        yield found
        found.stop()


def problems(server: Server) -> dict[str, str]:
    settings = read_settings(server.environment)
    found = readiness(settings, running_topology(settings))
    return {item.name: item.problem for item in found if item.problem is not None}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_seen_and_so_is_its_end(server: Server, case: Case) -> None:
    wait_until("a ready server", lambda: not problems(server))
    with case.fault(server):
        wait_until("a sign of the fault", lambda: case.said in problems(server).get(case.part, ""))
    wait_until("an end of the fault", lambda: not problems(server))


def health(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw_request(server.control_port, "GET", "/health").body)
    return found


def is_ready(server: Server) -> bool:
    return raw_request(server.control_port, "GET", "/ready").status == 200


def test_the_control_port_says_the_same(server: Server) -> None:
    """Faults of a part that all need, and of a worker for which others stand in."""
    wait_until("a ready server", lambda: is_ready(server))
    assert health(server)["state"] == "ready"
    with read_only(server):
        wait_until("a failing server", lambda: health(server).get("state") == "failing")
        assert health(server)["problems"]["postgres"] == "accepts no writes: it is read-only"
        assert not is_ready(server)
        assert raw_request(server.control_port, "GET", "/health").status == 503
        assert raw_request(server.control_port, "GET", "/live").status == 200
    wait_until("a ready server", lambda: is_ready(server))
    with frozen(READER)(server):
        wait_until("a degraded server", lambda: health(server).get("state") == "degraded")
        assert READER in health(server)["problems"]
        answer = raw_request(server.control_port, "GET", "/health", {"Accept": "text/plain"})
        assert (answer.status, answer.body[:10]) == (200, b"degraded: ")
    wait_until("a ready server", lambda: is_ready(server))


def test_a_process_that_stops_for_a_second_is_no_fault(server: Server) -> None:
    wait_until("a ready server", lambda: not problems(server))
    pid = server.pid(READER)
    os.kill(pid, signal.SIGSTOP)
    waker = os.fork()
    if waker == 0:
        time.sleep(1)
        os.kill(pid, signal.SIGCONT)
        os._exit(0)
    found = problems(server)
    os.waitpid(waker, 0)
    assert found == {}
