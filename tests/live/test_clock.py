"""A clock that jumps: no RTC and then NTP, or an administrator who sets it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows import whole_flow
from tests.harness import SHARED_SECRET, Server, wait_until
from tests.raw_http import raw_request
from tests.stepped_clock import SteppedClock

HOUR = 3600
SYNAPSE = {"main", "client_reader1", "event_persister1"}
YEARS = 30 * 365 * 24 * HOUR


@contextlib.contextmanager
def own_clock() -> Iterator[SteppedClock]:
    if os.geteuid() != 0:
        pytest.skip("only root can give a server an /etc of its own")
    with tempfile.TemporaryDirectory(prefix="ganglion-clock-", dir="/tmp") as made:
        directory = Path(made)
        directory.chmod(0o755)
        yield SteppedClock(directory)


@pytest.fixture(scope="module")
def clock() -> Iterator[SteppedClock]:
    with own_clock() as found:
        yield found


@pytest.fixture(scope="module")
def server(clock: SteppedClock) -> Iterator[Server]:
    with Server("client_reader, event_persister") as found:
        found.runner = clock.runner
        found.start()
        yield found
        found.stop()


def test_the_clock_of_what_is_started_so_is_set_alone() -> None:
    with own_clock() as clock:
        clock.step(HOUR)
        ahead, real = (
            int(subprocess.run(words, capture_output=True, check=True).stdout)
            for words in ([*clock.runner, "date", "+%s"], ["date", "+%s"])
        )
    assert ahead - real == pytest.approx(HOUR, abs=60)


@pytest.mark.parametrize("seconds", [HOUR, YEARS])
def test_a_step_forward_stops_nothing(server: Server, clock: SteppedClock, seconds: int) -> None:
    before = pids(server)
    with stepped(server, clock, seconds):
        works(server)
        assert pids(server) == before
        # A process that ends is started again as soon as without a step.
        for name in ("client_reader1", "event_persister1", "redis", "main"):
            comes_back(server, name)
        works(server)


@pytest.mark.parametrize("seconds", [-HOUR, -YEARS])
def test_a_step_back_replaces_the_processes_that_would_wait(
    server: Server, clock: SteppedClock, seconds: int
) -> None:
    """Synapse would refuse logins and let no timer come until the time is there again."""
    before = pids(server)
    since = server.log.mark()
    with stepped(server, clock, seconds):
        server.log.wait_for(f"the clock was set back by {-seconds} s", since)
        wait_until("the next process of main", lambda: pids(server)["main"] != before["main"])
        wait_until("a server that is well", lambda: is_well(server))
        works(server)
        after = pids(server)
        assert {name for name in after if after[name] != before[name]} == SYNAPSE
        for name in ("client_reader1", "redis", "main"):
            comes_back(server, name)
        works(server)


@contextlib.contextmanager
def stepped(server: Server, clock: SteppedClock, seconds: int) -> Iterator[None]:
    """Set the clock, and afterwards back to the machine's."""
    clock.step(seconds)
    try:
        yield
    finally:
        before = pids(server)
        clock.step(0)
    if seconds > 0:
        wait_until("the next process of main", lambda: pids(server)["main"] != before["main"])
    wait_until("a server that is well", lambda: is_well(server))


def works(server: Server) -> None:
    asyncio.run(whole_flow(server.base_url, SHARED_SECRET))


def pids(server: Server) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in server.status()}


def is_well(server: Server) -> bool:
    """Return whether everything works. That the clock was set back is said for as long as it is."""
    problems = json.loads(raw_request(server.control_port, "GET", "/health").body)["problems"]
    return set(problems) <= {"clock"}


def comes_back(server: Server, name: str) -> None:
    before = server.pid(name)
    os.kill(before, signal.SIGKILL)
    server.wait_replaced(name, before)
    wait_until("a server that is well", lambda: is_well(server))
