"""A process that ends sends all responses first, and loses no request that it has been sent."""

import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from synapse.http import request_metrics
from twisted.internet.task import Clock

from ganglion.in_synapse import draining


class Reactor(Clock):
    """A clock with one listening port. `writers` are the connections with unsent responses."""

    def __init__(self, *channels: Any) -> None:
        super().__init__()
        self.writers: list[Any] = []
        factory = SimpleNamespace(connections=list(channels))
        self.port = SimpleNamespace(
            stopListening=lambda: None, stopReading=lambda: None, factory=factory
        )

    def getReaders(self) -> list[Any]:  # noqa: N802 - Twisted's name
        return [self.port]

    def getWriters(self) -> list[Any]:  # noqa: N802 - Twisted's name
        return self.writers


class Socket:
    """A socket at which something arrives in the very moment in which it is shut down."""

    family = socket.AF_UNIX

    def __init__(self, real: socket.socket, arrives: Callable[[], object]) -> None:
        self._real = real
        self._arrives = arrives
        self.recv = real.recv

    def shutdown(self, how: int) -> None:
        self._arrives()
        self._real.shutdown(how)


class Channel:
    """An HTTP connection without a request. `happened` has the calls."""

    def __init__(self, real: socket.socket, arrives: Callable[[], object] = lambda: None) -> None:
        self.requests: list[Any] = []
        self.happened: list[str] = []
        self.transport = SimpleNamespace(
            socket=Socket(real, arrives),
            fileno=real.fileno,
            doRead=lambda: self.happened.append("read"),
            stopReading=lambda: self.happened.append("read no more"),
        )

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.happened.append("closed")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, proxy = socket.socketpair(socket.AF_UNIX)
    ours.setblocking(False)
    with ours, proxy:
        yield ours, proxy


@pytest.fixture(autouse=True)
def _requests() -> Iterator[None]:
    requests: Any = request_metrics._in_flight_requests
    before = set(requests)
    requests.clear()
    yield
    requests.clear()
    requests.update(before)


def test_it_ends_at_once_without_requests() -> None:
    assert draining.drain([], Reactor()).called


def test_it_waits_for_requests_but_not_for_ever() -> None:
    requests: Any = request_metrics._in_flight_requests
    requests.add("a request")
    reactor = Reactor()
    done = draining.drain([], reactor)
    reactor.pump([0.1] * 10)
    assert not done.called
    reactor.pump([0.1] * 10)
    assert done.called


def test_it_waits_until_responses_are_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    """The request is no longer in progress, and its response is still in a buffer."""
    channel = Channel(pair[0])
    reactor = Reactor(channel)
    reactor.writers = [channel.transport]
    done = draining.drain([], reactor)
    reactor.pump([0.1, 0.1])
    assert not done.called
    reactor.writers = []
    reactor.pump([0.1])
    assert done.called


def test_an_idle_connection_is_closed_and_takes_no_request_before(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, proxy = pair
    channel = Channel(ours)
    draining.drain([], Reactor(channel))
    assert channel.happened == ["closed"]
    # So the proxy knows that it has sent nothing.
    with pytest.raises(BrokenPipeError):
        proxy.send(b"POST")


def test_a_request_of_that_very_moment_is_read(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, proxy = pair
    channel = Channel(ours, arrives=lambda: proxy.send(b"POST"))
    draining.drain([], Reactor(channel))
    assert channel.happened == ["read", "read no more"]


def test_a_request_that_has_arrived_is_left_to_the_reactor(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, proxy = pair
    proxy.send(b"POST")
    channel = Channel(ours)
    draining.drain([], Reactor(channel))
    assert channel.happened == []
