"""Readiness sees each fault of a real server, and sees that it is gone."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ganglion.control.health import readiness
from ganglion.plan import read_settings, running_topology
from tests.certificates import Authority
from tests.controls import ControlledServer
from tests.faults import (
    CASES,
    READER,
    VARIABLES,
    WORKERS,
    Case,
    Fault,
    frozen,
    other_clock,
    prepare,
    read_only,
    settings_of,
)
from tests.harness import Server, wait_until
from tests.raw_http import Answer, raw_request, unix_request


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


def said(server: Server, path: str = "/health") -> Answer:
    """Ask the control application without nginx, which may be frozen."""
    socket = settings_of(server).paths.control_socket
    try:
        return unix_request(Path(socket), "GET", path)
    except FileNotFoundError:
        # It begins after nginx.
        return Answer(status=503, headers={}, body=b"{}")


def health(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = said(server).json()
    return found


def is_ready(server: Server) -> bool:
    return said(server, "/ready").status == 200


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_seen_and_so_is_its_end(server: Server, case: Case) -> None:
    wait_until("a ready server", lambda: is_ready(server))
    with case.fault(server):
        wait_until(
            "a sign of the fault",
            lambda: case.said in health(server)["problems"].get(case.part, ""),
        )
        assert not is_ready(server)
        assert said(server, "/live").status == 200
    wait_until("an end of the fault", lambda: is_ready(server))
    assert health(server)["state"] == "ready"


@pytest.mark.parametrize(
    ("fault", "part"),
    [(frozen("postgres"), "postgres"), (frozen(READER), READER), (frozen("control"), "control"),
     (read_only, "postgres"), (other_clock, "clock")],
    ids=["postgres", "worker", "control application", "read-only", "clock"],
)  # fmt: skip
def test_the_command_sees_a_fault_without_the_application(
    server: Server, fault: Fault, part: str
) -> None:
    wait_until("a ready server", lambda: not problems(server))
    with fault(server):
        assert part in problems(server)
    wait_until("an end of the fault", lambda: not problems(server))


def test_health_says_whether_others_stand_in(server: Server) -> None:
    wait_until("a ready server", lambda: is_ready(server))
    with read_only(server):
        wait_until("a failing server", lambda: health(server)["state"] == "failing")
        assert health(server)["problems"] == {"postgres": "accepts no writes: it is read-only"}
        assert said(server).status == 503
    wait_until("a ready server", lambda: is_ready(server))
    with frozen(READER)(server):
        wait_until("a degraded server", lambda: health(server)["state"] == "degraded")
        assert READER in health(server)["problems"]
        # As an administrator asks.
        answer = raw_request(server.control_port, "GET", "/health", {"Accept": "text/plain"})
        assert (answer.status, answer.body[:10]) == (200, b"degraded: ")
    wait_until("a ready server", lambda: is_ready(server))


def test_a_process_that_does_not_follow_is_behind() -> None:
    with ControlledServer("client_reader", {"SYNAPSE_ENABLE_METRICS": "yes"}) as server:
        server.start()
        wait_until("a ready server", lambda: is_ready(server))
        server.control("/test/replication/delay", milliseconds=60_000)
        server.users(1)
        wait_until("lag", lambda: said(server, "/ready?lag=1s").status == 503)
        assert f"{READER} is " in said(server, "/ready?lag=1s&format=text").body.decode()
        wait_until("a problem", lambda: READER in health(server)["problems"].get("streams", ""))
        server.control("/test/replication/delay", milliseconds=0)
        wait_until("a server that follows", lambda: said(server, "/ready?lag=1s").status == 200)
        server.stop()


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
