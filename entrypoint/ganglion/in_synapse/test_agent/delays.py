"""Delay requests, and messages that other processes send over Redis.

Synapse has no hook for either, so one method of one class is replaced, in test mode only.
"""

from collections import deque
from typing import Any

from synapse.http.site import SynapseRequest
from synapse.replication.tcp.redis import RedisSubscriber

HEALTH = b"/health"


class DelayedRequests:
    """Makes each request wait before Synapse processes it.

    Requests to /health do not wait, so that a slow process is not taken for a dead one.
    """

    def __init__(self, reactor: Any) -> None:
        self._seconds = 0.0
        process = SynapseRequest.process

        def later(request: Any) -> None:
            if not request._disconnected:
                process(request)

        def delayed(request: Any) -> None:
            if self._seconds and request.path != HEALTH:
                reactor.callLater(self._seconds, later, request)
            else:
                process(request)

        replaced: Any = SynapseRequest
        replaced.process = delayed

    def set(self, milliseconds: int) -> None:
        """Delay requests that arrive from now on."""
        self._seconds = milliseconds / 1000


class DelayedMessages:
    """Makes each Redis message wait before Synapse handles it, without changing the order."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._seconds = 0.0
        # For each waiting message, the time when it is due and the arguments of the method.
        self._waiting: deque[tuple[float, tuple[Any, ...]]] = deque()
        self._handle = RedisSubscriber.messageReceived

        def received(*arguments: Any) -> None:
            # A message also waits if an earlier one does.
            if self._seconds or self._waiting:
                self._add(arguments)
            else:
                self._handle(*arguments)

        replaced: Any = RedisSubscriber
        replaced.messageReceived = received

    def set(self, milliseconds: int) -> None:
        """Delay messages that arrive from now on. With 0, handle all waiting messages now."""
        self._seconds = milliseconds / 1000
        if not milliseconds:
            self._pass_on(everything=True)

    def _add(self, arguments: tuple[Any, ...]) -> None:
        due = self._reactor.seconds() + self._seconds
        if self._waiting:
            # Not before the message in front, whose delay may have been longer.
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, arguments))
        self._reactor.callLater(due - self._reactor.seconds(), self._pass_on)

    def _pass_on(self, *, everything: bool = False) -> None:
        while self._waiting and (everything or self._waiting[0][0] <= self._reactor.seconds()):
            _, arguments = self._waiting.popleft()
            self._handle(*arguments)
