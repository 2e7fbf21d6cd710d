"""Delayed requests and messages, with Twisted's own fake clock."""

from types import SimpleNamespace
from typing import Any

import pytest
from synapse.http.site import SynapseRequest
from synapse.replication.tcp.redis import RedisSubscriber
from twisted.internet.task import Clock

from ganglion.in_synapse.test_agent.delays import DelayedMessages, DelayedRequests


def test_messages_are_delayed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    subscriber: Any = RedisSubscriber
    handled: list[tuple[float, str]] = []
    clock = Clock()

    def note(_self: object, _pattern: str, _channel: str, message: str) -> None:
        handled.append((clock.seconds(), message))

    monkeypatch.setattr(subscriber, "messageReceived", note)
    messages = DelayedMessages(clock)
    received = subscriber.messageReceived
    received(None, "", "", "at once")
    messages.set(100)
    received(None, "", "", "first")
    clock.advance(0.06)
    messages.set(10)
    received(None, "", "", "not before the first")
    clock.advance(0.03)
    assert handled == [(0.0, "at once")]
    clock.advance(0.02)
    assert [message for _, message in handled[1:]] == ["first", "not before the first"]
    messages.set(5000)
    received(None, "", "", "let go")
    received(None, "", "", "and this")
    messages.set(0)
    assert [message for _, message in handled[3:]] == ["let go", "and this"]
    received(None, "", "", "as before")
    assert len(handled) == 6
    # The calls that were scheduled find nothing to handle.
    clock.advance(10)
    assert len(handled) == 6


def test_requests_are_delayed_except_health_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    processed: list[tuple[float, bytes]] = []
    clock = Clock()

    def note(request: Any) -> None:
        processed.append((clock.seconds(), request.path))

    monkeypatch.setattr(SynapseRequest, "process", note)
    requests = DelayedRequests(clock)
    process: Any = SynapseRequest.process

    def send(path: bytes, *, disconnected: bool = False) -> Any:
        request = SimpleNamespace(path=path, _disconnected=disconnected)
        process(request)
        return request

    send(b"/first")
    requests.set(500)
    send(b"/slow")
    send(b"/health")
    gone = send(b"/disconnected")
    gone._disconnected = True
    clock.advance(0.49)
    assert processed == [(0.0, b"/first"), (0.0, b"/health")]
    clock.advance(0.02)
    assert [path for _, path in processed[2:]] == [b"/slow"]
    requests.set(0)
    send(b"/as before")
    assert [path for _, path in processed[3:]] == [b"/as before"]
