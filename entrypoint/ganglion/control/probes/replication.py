"""Redis, the processes that listen to replication in it, and the positions of their streams."""

import contextlib
import http.client
import re
from collections.abc import Mapping

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ganglion.control.client import read_secret, request
from ganglion.control.probes.together import together
from ganglion.errors import ConfigError
from ganglion.programs.redis import client_arguments
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address, Topology

POSITION = re.compile(
    r'^synapse_storage_stream_current_position\{[^}]*stream_name="(\w+)"[^}]*\} ([\d.e+]+)$',
    re.MULTILINE,
)
# The position of each stream in each process.
Positions = Mapping[str, Mapping[str, float]]


def listeners(settings: Settings, server_name: str, timeout: float) -> int:
    """Return how many processes listen to replication in Redis.

    Raises redis.RedisError or OSError.
    """
    password: str | None = None
    with contextlib.suppress(ConfigError):
        password = read_secret(settings, "redis_password")
    # Without retries: redis-py's default waits 3 s and more for a server that is down.
    once = Retry(NoBackoff(), 0)
    with redis.Redis(
        password=password, socket_timeout=timeout, retry=once, **client_arguments(settings)
    ) as server:
        ((_, number),) = server.pubsub_numsub(server_name)
    return int(number)


def redis_problem(
    settings: Settings, server_name: str, processes: int, timeout: float
) -> str | None:
    """Ask Redis, and compare its listeners with the number of processes."""
    try:
        found = listeners(settings, server_name, timeout)
    except redis.exceptions.NoPermissionError:
        # It answers; an external server's rules may keep this account from counting.
        return None
    except (redis.RedisError, OSError) as error:
        return f"does not answer: {error}"
    if found < processes:
        return f"has {found} of {processes} processes that listen to replication"
    return None


def positions(topology: Topology, timeout: float) -> dict[str, dict[str, float]]:
    """Return the position of each stream in each process, from its metrics.

    A process that does not answer has none.
    """

    def ask(address: Address) -> dict[str, float]:
        try:
            _, text = request(address, "GET", "/_synapse/metrics", timeout=timeout)
        except (OSError, http.client.HTTPException):
            return {}
        return {stream: float(number) for stream, number in POSITION.findall(text)}

    found = together(ask, [process.metrics for process in topology.here])
    return dict(zip((process.name for process in topology.here), found, strict=True))


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
