"""How long each program may take to stop, within GANGLION_STOP_TIMEOUT."""

from dataclasses import dataclass

# All in seconds. nginx gets one second for its connections (supervisor/program.py), Redis keeps
# nothing, and the control application has no request that must finish.
NGINX, REDIS, CONTROL = 2, 1, 2
# PostgreSQL writes its memory to the disk: a quarter of the time, and this at least.
POSTGRES_LEAST = 2
# It is never killed sooner than this, whatever the timeout: its next start would take longer.
POSTGRES_PATIENCE = 60
WORKERS_SHARE = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTimes:
    """Seconds until a program that does not stop is killed; groups stop one after the other."""

    nginx: int
    control: int
    workers: int
    main: int
    redis: int
    postgres: int


def stop_times(timeout: float) -> StopTimes:
    """Share out `timeout`, in seconds, of 8 and more, so that PostgreSQL has its part at the end.

    Workers and main finish the requests under way, so they get all that is left.
    """
    postgres = max(POSTGRES_LEAST, round(timeout / 4))
    left = int(timeout) - NGINX - REDIS - postgres
    workers = max(1, round(left * WORKERS_SHARE))
    return StopTimes(
        nginx=NGINX,
        control=CONTROL,
        workers=workers,
        main=max(1, left - workers),
        redis=REDIS,
        postgres=max(POSTGRES_PATIENCE, postgres),
    )
