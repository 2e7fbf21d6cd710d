"""Read your own writes: hold each response until every process has seen the write.

Synapse answers a request that writes when its own process has seen the write. Another process sees
it a few milliseconds later, and a test that reads there fails at random.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from synapse.http.server import JsonResource, _AsyncResource
from synapse.util.duration import Duration

from ganglion.in_synapse.test_agent.positions import Positions
from ganglion.in_synapse.test_agent.table import Table

LOG = logging.getLogger(__name__)

# One process asks another for a part of a request; the client's own answer is held.
BETWEEN_PROCESSES = b"/_synapse/replication/"
READING = frozenset((b"GET", b"HEAD", b"OPTIONS"))
# A client that has seen something here asks another process about it next.
SYNC = b"/sync"
# In seconds. Replication takes some 5 ms on an idle machine. A look takes 50 µs.
LONGEST = 1.0
FIRST_LOOKS, BETWEEN_FIRST_LOOKS, BETWEEN_LOOKS = 0.03, 0.001, 0.005

Render = Callable[[Any, Any], Awaitable[Any]]


class Consistency:
    """Holds the answers of one process."""

    def __init__(self, hs: Any, positions: Positions, table: Table) -> None:
        self._clock = hs.get_clock()
        self._reactor = hs.get_reactor()
        self._positions = positions
        self._table = table
        # Every process finds these in the database when it starts.
        self._at_start = positions.own()
        for resource in (_AsyncResource, JsonResource):
            replaced: Any = resource
            replaced._async_render = self._held(replaced._async_render)

    def _held(self, render: Render) -> Render:
        async def _async_render(resource: Any, request: Any) -> Any:
            try:
                answer = await render(resource, request)
            except Exception:
                # A request may have written before it failed.
                await self._hold(request)
                raise
            await self._hold(request)
            return answer

        return _async_render

    async def _hold(self, request: Any) -> None:
        is_sync = request.path.endswith(SYNC)
        if request.method in READING and not is_sync:
            return
        self._table.wrote(
            {
                stream: position
                for stream, position in self._positions.own().items()
                if position != self._at_start.get(stream)
            }
        )
        if not request.path.startswith(BETWEEN_PROCESSES):
            await self._all_have_seen(seen=is_sync)

    async def _all_have_seen(self, *, seen: bool) -> None:
        """Wait until every process has seen all published positions, but no longer than LONGEST."""
        targets = self._table.unconfirmed(seen=seen)
        began = self._reactor.seconds()
        while True:
            waited = self._reactor.seconds() - began
            patient = waited < FIRST_LOOKS
            behind = self._table.behind(targets, running=not patient)
            if not behind:
                return
            if waited > LONGEST:
                LOG.warning("answered early: %s", "; ".join(map(str, behind)))
                return
            pause = BETWEEN_FIRST_LOOKS if patient else BETWEEN_LOOKS
            await self._clock.sleep(Duration(seconds=pause))


def install(hs: Any, positions: Positions, path: Path, processes: Sequence[str], own: str) -> None:
    """Hold the answers of this process from now on. All processes must give the same arguments."""
    streams = hs.get_replication_command_handler().get_streams()
    send_in_order(streams["caches"])
    table = Table(path, processes, sorted(streams), own)
    positions.listen(table.saw, tuple(name for name in processes if name != own))
    Consistency(hs, positions, table)
    table.open()


def send_in_order(stream: Any) -> None:
    """Send no row of a stream before all rows of its writer with lower IDs.

    Synapse sends an invalidation of a cache as soon as it is written, though one with a lower ID is
    still being written. Other processes then have the higher position when the lower one is
    answered, and do not have its row.
    """
    update = stream.update_function

    async def in_order(
        writer: str, from_token: int, upto_token: int, limit: int
    ) -> tuple[list[tuple[int, Any]], int, bool]:
        rows, token, limited = await update(writer, from_token, upto_token, limit)
        return [row for row in rows if row[0] <= upto_token], min(token, upto_token), limited

    stream.update_function = in_order
