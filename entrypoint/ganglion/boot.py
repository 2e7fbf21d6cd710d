"""A plan → running processes: the data directory, secrets, the first database, supervisord."""

import fcntl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import redis
from signedjson.key import encode_signing_key_base64, generate_signing_key

from ganglion import postgres
from ganglion.budget import share_out
from ganglion.errors import ConfigError, Problem
from ganglion.files import SECRET, make_directory, write_directory, write_file
from ganglion.machine import Machine
from ganglion.operator_files import OperatorFiles
from ganglion.pools import Room
from ganglion.render import Plan, render
from ganglion.render.supervisord import notify_socket
from ganglion.secrets import GENERATED, Secrets, generate
from ganglion.settings import Settings
from ganglion.supervisor import supervise
from ganglion.supervisor.prefork import preload

Say = Callable[[str], None]


def start(plan: Plan, say: Say) -> int:
    """Prepare everything that `plan` needs, its secrets first, and run it. Returns the exit
    status.
    """
    # Whatever cannot be rendered fails here, before anything is written.
    render(plan)
    settings, machine = plan.settings, plan.machine
    _check_certificate(settings)
    lock = _lock(Path(settings.data), machine)
    try:
        secrets = keep_secrets(settings, plan.operator)
        _make_directories(settings, machine)
        if settings.embedded_postgres:
            _prepare_cluster(settings, machine, secrets, say)
        else:
            room = postgres.await_external(settings, say, any_locale=plan.operator.any_locale)
            plan = _fitted(plan, room, say)
        if not settings.embedded_redis:
            await_redis(settings, say)
        conf = Path(settings.run, "conf")
        write_directory(conf, render(replace(plan, secrets=secrets)), dict(machine.accounts))
        return supervise(
            str(conf / "supervisord.conf"), notify_socket(settings), prefork=settings.prefork
        )
    finally:
        lock.close()


def _fitted(plan: Plan, room: Room, say: Say) -> Plan:
    """The plan with pools that an external PostgreSQL server has the connections for.

    Raises ConfigError where it has not even those that are needed.
    """
    budget = share_out(plan.settings, plan.topology, plan.machine, room)
    if budget.connections < plan.budget.connections:
        say(
            f"PostgreSQL has {room.free} connections for us: pools of {budget.connections}"
            f" together, not {plan.budget.connections}"
        )
    return replace(plan, budget=budget)


def keep_secrets(settings: Settings, operator: OperatorFiles) -> Secrets:
    """The secrets in force. What no variable gives is read from the data directory, where what
    is missing is made.

    A secret that a variable gives is not kept: the variable stays its only place.
    """
    directory = Path(settings.data, "secrets")
    values: dict[str, str] = {}
    for name in GENERATED:
        given: str | None = getattr(settings, name)
        values[name] = given or _kept(directory / name, generate)
    server_name = str(operator.options.get("server_name", settings.server_name))
    path = Path(settings.data, f"{server_name}.signing.key")
    values["signing_key"] = settings.signing_key or _kept(path, _new_signing_key)
    return Secrets(**values)


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The text of a file, made first if it is not there."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        value = make()
        write_file(path, f"{value}\n", SECRET, None)
        return value


def _new_signing_key() -> str:
    key = generate_signing_key(f"a_{generate()[:6].replace('-', 'x').replace('_', 'y')}")
    return f"{key.alg} {key.version} {encode_signing_key_base64(key)}"


def _lock(data: Path, machine: Machine) -> TextIO:
    """Hold the data directory for ourselves: two servers in one would destroy it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        make_directory(data / "secrets", 0o700, None)
        lock = (data / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        hint = "give a directory that this account may write to"
        raise _unusable(data, f"cannot be written: {error.strerror}", hint) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise _unusable(data, "is in use by another server", "stop that one first") from error
    _check_entry(data, machine)
    return lock


def _check_entry(data: Path, machine: Machine) -> None:
    """See that the programs' accounts may go down to the data directory."""
    if not machine.accounts:
        return
    for ancestor in (data, *data.parents):
        if not ancestor.stat().st_mode & 0o001:
            raise _unusable(
                data,
                f"is below {ancestor}, which only its owner may enter; the programs run as "
                "accounts of their own",
                f"chmod o+x {ancestor}, or set GANGLION_DATA to a directory such as "
                "/var/lib/ganglion",
            )


def _unusable(data: Path, message: str, hint: str) -> ConfigError:
    return ConfigError(
        [Problem(variable="GANGLION_DATA", value=str(data), message=message, hint=hint)]
    )


def _check_certificate(settings: Settings) -> None:
    paths = (("SYNAPSE_TLS_CERT", settings.tls_cert), ("SYNAPSE_TLS_KEY", settings.tls_key))
    problems = [
        Problem(
            variable=name,
            value=path,
            message="is not a file that can be read",
            hint="give the path of a PEM file; in a container, mount it there",
        )
        for name, path in paths
        if path is not None and not Path(path).is_file()
    ]
    if problems:
        raise ConfigError(problems)


def _make_directories(settings: Settings, machine: Machine) -> None:
    run, data = Path(settings.run), Path(settings.data)
    directories = (
        (run, 0o755, ""),
        (run / "sockets", 0o755, "synapse"),
        (run / "nginx", 0o755, "nginx"),
        *(
            (run / "sockets" / name, 0o755, name)
            for name, embedded in (
                ("postgres", settings.embedded_postgres),
                ("redis", settings.embedded_redis),
            )
            if embedded
        ),
        *(((run / "redis", 0o700, "redis"),) if settings.embedded_redis else ()),
        (data / "media_store", 0o750, "synapse"),
        *(((data / "logs", 0o750, "synapse"),) if settings.logs_to_disk else ()),
    )
    for path, mode, program in directories:
        make_directory(path, mode, machine.account(program))


def _prepare_cluster(settings: Settings, machine: Machine, secrets: Secrets, say: Say) -> None:
    """Make the cluster if there is none, and see that its password is the one in force."""
    cluster = Path(settings.data, "postgres")
    # What the role's password was last set to: a variable may have brought another since.
    in_force = Path(settings.data, "secrets", "postgres_password_in_force")
    if not (cluster / "PG_VERSION").exists():
        say("making the database")
        meanwhile = preload if settings.prefork else lambda: None
        postgres.make_cluster(cluster, settings, machine, secrets.postgres_password, meanwhile)
    elif in_force.exists() and in_force.read_text().strip() == secrets.postgres_password:
        return
    else:
        postgres.set_password(cluster, settings, machine, secrets.postgres_password)
    write_file(in_force, f"{secrets.postgres_password}\n", SECRET, None)


def await_redis(settings: Settings, say: Say) -> None:
    """Wait until the external Redis server answers.

    Raises ConfigError when it refuses, or does not answer in GANGLION_WAIT seconds.
    """
    client = redis.Redis(
        host=settings.redis_host or "",
        port=settings.redis_port,
        db=settings.redis_dbid,
        password=settings.redis_password,
        ssl=settings.redis_tls,
        socket_connect_timeout=5,
        socket_timeout=5,
    )
    started = time.monotonic()
    while (error := _ping(client)) is not None:
        waited = time.monotonic() - started
        refused = isinstance(error, redis.AuthenticationError)
        if refused or waited > settings.external_wait:
            raise ConfigError([_no_redis(settings, error, refused=refused)]) from error
        say(
            f"waiting for Redis at {settings.redis_host}:{settings.redis_port}, "
            f"{waited:.0f} of {settings.external_wait:.0f} s: {error}"
        )
        time.sleep(1)


def _ping(client: redis.Redis) -> redis.RedisError | None:
    try:
        client.ping()
    except redis.RedisError as error:
        return error
    return None


def _no_redis(settings: Settings, error: redis.RedisError, *, refused: bool) -> Problem:
    return Problem(
        variable="REDIS_HOST",
        value=settings.redis_host,
        message=f"Redis cannot be used: {error}",
        hint="correct REDIS_PASSWORD"
        if refused
        else "see that the server runs and can be reached from here, or raise GANGLION_WAIT",
    )
