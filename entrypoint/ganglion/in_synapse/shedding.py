"""Answer 429 for a client's request that a process would not come to for long.

A process takes every connection, and each further request makes all others wait longer: clients
give up, ask again, and no answer is in time. So a process that is busy all the time, and has LIMIT
requests of clients in progress, answers the next one at once, with the time after which to ask
again. Requests of other servers, of Ganglion and between Synapse's processes are always taken. Long
polls that wait for something to happen do not count.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from synapse import notifier
from synapse.http import request_metrics, server, site
from synapse.metrics import _reactor_metrics
from twisted.web.resource import Resource

# The variable of the process that holds the limit, and the limit without it. 0 for none.
VARIABLE = "GANGLION_REQUESTS_AT_ONCE"
LIMIT = 100
CLIENTS = b"/_matrix/client/"
# The part of the time that a process works, of about the last RECENT seconds, above which it is
# busy all the time.
BUSY, RECENT = 0.9, 2.0
# In milliseconds.
RETRY_AFTER = 2000


class Work:
    """How much of the recent time a process has worked, and not waited for something to do."""

    def __init__(self) -> None:
        self._worked = 0.0
        self._waited = 0.0

    def add(self, worked: float, waited: float) -> None:
        """Add seconds of work, and of waiting after it. Earlier times fade."""
        fades = math.exp(-(worked + waited) / RECENT)
        self._worked = self._worked * fades + worked
        self._waited = self._waited * fades + waited

    def share(self) -> float:
        """Return the part of the time that was work, from 0 to 1."""
        whole = self._worked + self._waited
        return self._worked / whole if whole >= RECENT / 2 else 0.0


class Waiting:
    """The number of long polls that wait for something to happen."""

    def __init__(self) -> None:
        self.number = 0

    def begins(self, deferred: Any) -> Any:
        """Count one more, until its Deferred fires."""
        if not deferred.called:
            self.number += 1
            deferred.addBoth(self._ends)
        return deferred

    def _ends(self, result: Any) -> Any:
        self.number -= 1
        return result


class TooManyRequests(Resource):
    """The response to a request that is not taken."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def render(self, request: Any) -> int:
        """Respond with Matrix' error for too many requests."""
        request.setHeader("Retry-After", str(RETRY_AFTER // 1000))
        server.respond_with_json_bytes(request, 429, BODY, send_cors=True)
        return int(server.NOT_DONE_YET)


BODY = json.dumps(
    {
        "errcode": "M_LIMIT_EXCEEDED",
        "error": "This part of the server is busy",
        "retry_after_ms": RETRY_AFTER,
    }
).encode()


def prepare(environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
    """Have the process refuse requests beyond its limit. Call it before it listens."""
    limit = int(environment.get(VARIABLE, LIMIT))
    if limit == 0:
        return
    work, waiting = Work(), Waiting()
    resource: Any = TooManyRequests
    refusal = resource()
    _watch_work(work, clock)
    stream: Any = notifier._NotifierUserStream
    new_listener = stream.new_listener
    stream.new_listener = lambda self, token: waiting.begins(new_listener(self, token))
    request_class: Any = site.SynapseRequest
    render = request_class.render

    def render_or_refuse(request: Any, resource: Any) -> None:
        if (
            len(request_metrics._in_flight_requests) - waiting.number >= limit
            and work.share() >= BUSY
            and request.path.startswith(CLIENTS)
        ):
            resource = refusal
        render(request, resource)

    request_class.render = render_or_refuse


def _watch_work(work: Work, clock: Callable[[], float]) -> None:
    """Add to `work` each time that the reactor has waited. Synapse wraps its wait anyway."""
    wrapper: Any = _reactor_metrics.CallWrapper
    original = wrapper.__call__
    last = clock()

    def wait(poll: Any, *args: Any, **named: Any) -> Any:
        nonlocal last
        began = clock()
        result = original(poll, *args, **named)
        ended = clock()
        work.add(began - last, ended - began)
        last = ended
        return result

    wrapper.__call__ = wait
