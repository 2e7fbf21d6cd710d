"""Redis, the processes that listen to replication in it, and the positions of their streams."""

import http.client
import re
from collections.abc import Mapping

from ganglion.control.client import request
from ganglion.control.probes import redis_protocol
from ganglion.control.probes.together import together
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address, Topology

# The one metric of it, where in_synapse.chosen_metrics is loaded.
POSITIONS = "/_synapse/metrics?name[]=synapse_storage_stream_current_position"
POSITION = re.compile(
    r'^synapse_storage_stream_current_position\{[^}]*stream_name="(\w+)"[^}]*\} ([\d.e+]+)$',
    re.MULTILINE,
)
# Every process writes this stream, and each is at the position that all writers have passed. After
# numbers that nobody used, as after a crash of PostgreSQL, that can be long ago, and nothing waits
# for it: synapse/replication/tcp/resource.py. The rows themselves are read when they come.
NOBODY_WAITS = "caches"
# The position of each stream in each process.
Positions = Mapping[str, Mapping[str, float]]


def listeners(settings: Settings, server_name: str, timeout: float) -> int:
    """Return how many processes listen to replication in Redis.

    Raises Refused or OSError.
    """
    found = redis_protocol.ask(settings, ("PUBSUB", "NUMSUB", server_name), timeout)
    return int(found[1])


def redis_problem(
    settings: Settings, server_name: str, processes: int, timeout: float
) -> str | None:
    """Ask Redis, and compare its listeners with the number of processes."""
    try:
        found = listeners(settings, server_name, timeout)
    except redis_protocol.Refused as error:
        # An external server's rules may keep this account from counting.
        return None if str(error).startswith("NOPERM") else f"refuses: {error}"
    except OSError as error:
        return f"does not answer: {error}"
    if found < processes:
        return f"has {found} of {processes} processes that listen to replication"
    return None


def positions(topology: Topology, timeout: float) -> dict[str, dict[str, float]]:
    """Return the position of each stream that is waited for in each process, from its metrics.

    A process that does not answer has none.
    """

    def ask(address: Address) -> dict[str, float]:
        try:
            _, text = request(address, "GET", POSITIONS, timeout=timeout)
        except (OSError, http.client.HTTPException):
            return {}
        return read(text)

    found = together(ask, [process.metrics for process in topology.here])
    return dict(zip((process.name for process in topology.here), found, strict=True))


def read(text: str) -> dict[str, float]:
    """Return the positions that a text of metrics has, without that of NOBODY_WAITS."""
    found = {stream: float(number) for stream, number in POSITION.findall(text)}
    found.pop(NOBODY_WAITS, None)
    return found


def standing(first: Positions, second: Positions) -> dict[str, tuple[str, ...]]:
    """Return the streams of each process that has not reached the position that any had before."""
    goals: dict[str, float] = {}
    for streams in first.values():
        for stream, position in streams.items():
            goals[stream] = max(position, goals.get(stream, 0))
    found: dict[str, tuple[str, ...]] = {}
    for name, streams in second.items():
        late = tuple(stream for stream, goal in goals.items() if streams.get(stream, goal) < goal)
        if late:
            found[name] = late
    return found
