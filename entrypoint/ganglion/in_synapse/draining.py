"""End a Synapse process after SIGTERM without an error for those that it serves.

It takes no further connection: these wait for the next process, or are refused if there is none.
Long polls end at once, with the empty response that a client also gets when nothing happens. All
other requests are finished, and their responses sent, which takes LONGEST at most.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from synapse.http import request_metrics
from synapse.notifier import Notifier
from twisted.internet import reactor, task

from ganglion.in_synapse.listening import pending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.defer import Deferred

# In seconds. With GANGLION_STOP_TIMEOUT's default, main is killed after 2 s.
LONGEST = 1.5
EVERY = 0.01

# Types of Twisted's reactor differ by platform.
_reactor: Any = reactor


def prepare() -> None:
    """Have the process drain before it ends. Call it once the reactor is there."""
    notifiers: list[Any] = []
    make: Any = Notifier.__init__

    def remember(self: Any, *rest: Any, **named: Any) -> None:
        make(self, *rest, **named)
        notifiers.append(self)

    notifier: Any = Notifier
    notifier.__init__ = remember
    _reactor.addSystemEventTrigger("before", "shutdown", drain, notifiers)


def drain(notifiers: list[Any], reactor: Any = _reactor) -> Deferred[Any]:
    """Return a Deferred that fires once all requests have their responses, or after LONGEST."""
    ports = [item for item in reactor.getReaders() if hasattr(item, "stopListening")]
    for port in ports:
        # To stop listening would cut all connections: SynapseSite.stopFactory.
        port.stopReading()
    deadline = reactor.seconds() + LONGEST

    def look() -> None:
        _end_long_polls(notifiers)
        channels = [channel for port in ports for channel in _channels(port.factory)]
        _close_after_response(channels)
        # A request has ended before its response is sent: the reactor does that in its next turn,
        # if there is one.
        unsent = {id(writer) for writer in reactor.getWriters()}
        busy = any(id(_connection(channel)) in unsent for channel in channels)
        busy |= bool(request_metrics._in_flight_requests)
        if not busy or reactor.seconds() >= deadline:
            looking.stop()

    looking = task.LoopingCall(look)
    looking.clock = reactor
    return looking.start(EVERY)


def _channels(factory: Any) -> list[Any]:
    """Return the HTTP connections of a listener. One of another kind has no such list."""
    # TLS is a factory around Synapse's.
    return list(getattr(getattr(factory, "wrappedFactory", factory), "connections", ()))


def _connection(channel: Any) -> Any:
    """Return the connection below an HTTP channel, and below its TLS."""
    return getattr(channel.transport, "transport", channel.transport)


def _end_long_polls(notifiers: list[Any]) -> None:
    for notifier in notifiers:
        for stream in list(notifier.user_to_user_stream.values()):
            for listener in list(stream.listeners):
                listener.cancel()


def _close_after_response(channels: Iterable[Any]) -> None:
    """Close each idle connection now, and the others once they have had their response."""
    for channel in list(channels):
        if channel.requests:
            channel.persistent = 0
            for request in channel.requests:
                if not request.startedWriting:
                    # Otherwise the proxy would send its next request here.
                    request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        elif channel.transport is not None and not pending(channel.transport.fileno()):
            # A request that has arrived is read and answered first.
            _close_unless_pending(channel)


def _close_unless_pending(channel: Any) -> None:
    """Close an idle connection. A request that arrives in this very moment is answered.

    Once a unix socket is shut down for reading, the proxy cannot send a request to it any more, and
    knows that it has sent nothing: unix(7).
    """
    transport = channel.transport
    connection: socket.socket = transport.socket
    if connection.family == socket.AF_UNIX:
        connection.shutdown(socket.SHUT_RD)
        if connection.recv(1, socket.MSG_PEEK):
            transport.doRead()
            # The end after the request would cancel it.
            transport.stopReading()
            return
    channel.loseConnection()
