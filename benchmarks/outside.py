"""PostgreSQL and Redis outside of Ganglion, for `scripts/bench faults`."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import redis

from tests.dependencies import PASSWORD, REDIS_PASSWORD, Postgres, Redis


@dataclass(frozen=True, slots=True)
class Outside:
    """Servers that Ganglion does not supervise."""

    postgres: Postgres
    redis: Redis

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> "Iterator[Outside]":
        """Start both, with an empty database for Synapse."""
        with contextlib.ExitStack() as stack:
            found = cls(Postgres(), Redis())
            for server in (found.postgres, found.redis):
                stack.callback(server.remove)
                server.start()
            role = PASSWORD.replace("'", "''")
            found.postgres.execute(
                f"CREATE ROLE synapse LOGIN PASSWORD '{role}'",
                "CREATE DATABASE synapse OWNER synapse TEMPLATE template0 ENCODING 'UTF8'"
                " LC_COLLATE 'C' LC_CTYPE 'C'",
            )
            yield found

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which Ganglion uses them."""
        return {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(self.postgres.port),
            "POSTGRES_PASSWORD": PASSWORD,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self.redis.port),
            "REDIS_PASSWORD": REDIS_PASSWORD,
        }


def away(which: str, seconds: float) -> Callable[[Outside], None]:
    """Stop a server for so long, and start it again."""

    def stop_and_start(outside: Outside) -> None:
        dependency: Postgres | Redis = getattr(outside, which)
        dependency.stop()
        time.sleep(seconds)
        dependency.start()

    return stop_and_start


def flush(outside: Outside) -> None:
    """Forget everything that Redis holds."""
    with redis.Redis(port=outside.redis.port, password=REDIS_PASSWORD) as client:
        client.flushall()
