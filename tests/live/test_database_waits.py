"""Requests wait while PostgreSQL restarts, and none fails."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.controls import ControlledServer
from tests.harness import wait_until
from tests.matrix import CLIENT
from tests.processes import identity

WHOAMI = f"{CLIENT}/account/whoami"


@pytest.fixture(scope="module")
def server() -> Iterator[ControlledServer]:
    with ControlledServer("client_reader, event_persister") as started:
        started.start()
        yield started


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGQUIT])
def test_requests_wait_for_the_next_postgresql(
    server: ControlledServer, number: signal.Signals
) -> None:
    """Reads under way, writes that begin meanwhile, and each connection that it cut.

    A write whose COMMIT was sent and not answered fails, so none is under way here.
    """
    (alice,) = server.users(1)
    room_id = alice.create_room()
    found: Counter[int] = Counter()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found[alice.call("GET", WHOAMI, expect=None)] += 1

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        wait_until("the first responses", lambda: found[200] > 20)
        before = server.pid("postgres")
        os.kill(before, number)
        wait_until("its end", lambda: not identity(before))
        alice.send(room_id, f"while-{number.name}")
        since = found[200]
        wait_until("further responses", lambda: found[200] > since + 20)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert set(found) == {200}
    # Each pool has some connections, and each of them was cut.
    for turn in range(8):
        for name in ("main", "client_reader1"):
            alice.call("PUT", alice.account_data(f"of.{name}.{turn}"), {}, at=name)
        alice.send(room_id, f"after-{number.name}-{turn}")
