"""Redis: the embedded server, and the wait for an external one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ganglion.budget.amounts import GB, MB, Budget, Demand, Part, Row
from ganglion.errors import Problem
from ganglion.files.file import SECRET, File
from ganglion.files.templates import fill
from ganglion.machine.installed import Machine, Requirement
from ganglion.machine.limits import Limits
from ganglion.programs.program import Directory, Plan, Program, Service, notify
from ganglion.programs.stopping import stop_times
from ganglion.programs.waiting import CONNECT_TIMEOUT, Say, wait_for
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

NAME = "redis"
CONF = "redis.conf"
# Seconds; docs/architecture.md, "Stopping".
# Each of Synapse's processes subscribes, publishes and asks: three connections.
CLIENTS_EACH, CLIENTS_SPARE = 4, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """The embedded server's settings, in MB except for the number of clients."""

    maxmemory: int
    maxclients: int
    buffer_hard: int
    buffer_soft: int


def amounts(budget: Budget) -> Amounts:
    """Half of the memory holds keys, half the output that slow readers have yet to read."""
    memory = budget.memory[NAME]
    return Amounts(
        maxmemory=memory // 2 // MB,
        maxclients=CLIENTS_EACH * len(budget.pools) + CLIENTS_SPARE,
        buffer_hard=max(4, min(256, memory // 2 // MB)),
        buffer_soft=max(2, min(64, memory // 4 // MB)),
    )


def await_external(settings: Settings, say: Say) -> None:
    """Wait until the external Redis server answers.

    Raises ConfigError when it refuses, or does not answer in GANGLION_WAIT seconds.
    """
    # The client takes 0.1 s to import, which a start with an embedded server does not spend.
    import redis  # noqa: PLC0415

    client = redis.Redis(
        **client_arguments(settings),
        db=settings.redis_dbid,
        password=settings.redis_password,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=CONNECT_TIMEOUT,
    )
    where = settings.redis_path or f"{settings.redis_host}:{settings.redis_port}"

    def refused(error: Exception) -> bool:
        return isinstance(error, redis.AuthenticationError)

    wait_for(
        client.ping,
        f"Redis at {where}",
        limit=settings.external_wait,
        say=say,
        retried=(redis.RedisError,),
        final=refused,
        problem=lambda error: _unreachable(settings, error, refused=refused(error)),
    )


def client_arguments(settings: Settings) -> dict[str, Any]:
    """The arguments of redis.Redis that say where the server is and how to trust it."""
    given = dict(settings.redis_args)
    found = {"username": given["username"]} if "username" in given else {}
    if settings.embedded_redis:
        return {"unix_socket_path": settings.paths.redis_socket}
    if settings.redis_path is not None:
        return {"unix_socket_path": settings.redis_path, **found}
    found |= {"host": settings.redis_host, "port": settings.redis_port}
    if settings.redis_tls:
        names = {
            "ssl_certfile": "certificate_file",
            "ssl_keyfile": "private_key_file",
            "ssl_ca_certs": "ca_file",
            "ssl_ca_path": "ca_path",
        }
        found |= {ours: given[theirs] for ours, theirs in names.items() if theirs in given}
        found["ssl"] = True
    return found


def _unreachable(settings: Settings, error: Exception, *, refused: bool) -> Problem:
    return Problem(
        variable="REDIS_HOST",
        value=settings.redis_path or settings.redis_host,
        message=f"Redis cannot be used: {error}",
        hint="correct REDIS_PASSWORD"
        if refused
        else "see that the server runs and can be reached from here, or raise GANGLION_WAIT",
    )


def _programs(plan: Plan, needs: tuple[str, ...]) -> tuple[Program, ...]:
    return (
        Program(
            name=NAME,
            group=NAME,
            priority=200,
            command=(plan.machine.binary(NAME), plan.settings.paths.conf_file(CONF)),
            account=plan.machine.account(NAME),
            needs=needs,
            stop_signal="TERM",
            stop_wait=stop_times(plan.settings.stop_timeout).redis,
            oom_score=50,
            health=f"redis {plan.settings.paths.redis_socket}",
            environment=(notify(plan.settings),),
        ),
    )


def _files(plan: Plan) -> tuple[File, ...]:
    paths = plan.settings.paths
    text = fill(
        "redis.conf.j2",
        socket=paths.redis_socket,
        directory=paths.redis_directory,
        password=plan.secrets.redis_password,
        redis=amounts(plan.budget),
    )
    return (File(path=CONF, content=text, mode=SECRET, program=NAME),)


def _directories(settings: Settings) -> tuple[Directory, ...]:
    path = settings.paths.redis_directory
    return (Directory(path=path, mode=0o750, service=NAME, entered_by="synapse"),)


def _demands(
    _settings: Settings, _topology: Topology, _machine: Machine, _within: Limits
) -> tuple[Demand, ...]:
    return (Demand(label="Redis", parts={NAME: Part(least=16 * MB, part=30, most=GB)}),)


def _rows(plan: Plan) -> tuple[Row, ...]:
    found = amounts(plan.budget)
    return (
        Row(
            name="Redis maxmemory",
            amount=f"{found.maxmemory}M, allkeys-lru",
            memory=plan.budget.memory[NAME],
            reason="half of its share; Synapse stores there only what it can compute again",
        ),
        Row(
            name="Redis pubsub buffers",
            amount=f"{found.buffer_hard}M",
            memory=0,
            reason="the other half: output that a slow process has yet to read",
        ),
        Row(
            name="Redis maxclients",
            amount=f"{found.maxclients}",
            memory=0,
            reason="four for each Synapse process, and some for administrators",
        ),
    )


def _amounts(plan: Plan) -> Mapping[str, int]:
    return asdict(amounts(plan.budget))


SERVICE = Service(
    name=NAME,
    runs=lambda settings: settings.embedded_redis,
    account="redis",
    requirements=(Requirement(service=NAME, binary="redis-server", package="redis-server"),),
    programs=_programs,
    files=_files,
    directories=_directories,
    demands=_demands,
    rows=_rows,
    amounts=_amounts,
)
