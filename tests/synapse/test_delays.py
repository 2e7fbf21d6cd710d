"""Delayed replication, in Synapse's own subscriber to Redis."""

from typing import Any

import pytest
from synapse.replication.tcp.redis import RedisSubscriber
from twisted.internet.task import Clock

from ganglion.in_synapse.test_agent.delays import DelayedMessages


def test_messages_are_delayed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    subscriber: Any = RedisSubscriber
    handled: list[tuple[float, str]] = []
    clock = Clock()

    def note(_self: object, _pattern: str, _channel: str, message: str) -> None:
        handled.append((clock.seconds(), message))

    monkeypatch.setattr(subscriber, "messageReceived", note)
    delays = DelayedMessages(clock)
    received = subscriber.messageReceived
    received(None, "", "", "at once")
    delays.set(100)
    received(None, "", "", "first")
    clock.advance(0.06)
    delays.set(10)
    received(None, "", "", "not before the first")
    clock.advance(0.03)
    assert handled == [(0.0, "at once")]
    clock.advance(0.02)
    assert [message for _, message in handled[1:]] == ["first", "not before the first"]
    delays.set(5000)
    received(None, "", "", "let go")
    received(None, "", "", "and this")
    delays.set(0)
    assert [message for _, message in handled[3:]] == ["let go", "and this"]
    received(None, "", "", "as before")
    assert len(handled) == 6
    # What was yet to be called finds nothing to do.
    clock.advance(10)
    assert len(handled) == 6
