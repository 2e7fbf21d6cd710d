"""A plan → running processes: the data directory, secrets, the first database, supervisord."""

import contextlib
import fcntl
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from signedjson.key import encode_signing_key_base64, generate_signing_key

from ganglion.budget.connections import Room
from ganglion.budget.share_out import share_out
from ganglion.data.secrets import GENERATED, GIVEN, Secrets, generate
from ganglion.errors import ConfigError, Problem
from ganglion.files.file import SECRET, hand_over, make_directory, write_directory, write_file
from ganglion.machine.installed import Machine
from ganglion.plan import Plan, render
from ganglion.programs import control
from ganglion.programs.postgres import cluster as postgres_cluster
from ganglion.programs.supervisord_conf import notify_socket
from ganglion.settings import test_mode
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from ganglion.supervisor.background import in_background
from ganglion.supervisor.daemon import supervise
from ganglion.supervisor.fork.preload import preload
from ganglion.supervisor.start_times import Timeline

Say = Callable[[str], None]

SIGNING_KEY = "{}.signing.key"


def start(plan: Plan, say: Say, timeline: Timeline) -> int:
    """Prepare everything that `plan` needs, its secrets first, and run it. Returns the exit
    status.
    """
    # Whatever cannot be rendered fails here, before anything is written.
    render(plan)
    settings, machine = plan.settings, plan.machine
    if not test_mode.own_certificate(settings):
        _check_certificate(settings)
    lock = _lock(Path(settings.data), machine)
    try:
        _check_name(settings, plan.operator)
        secrets = keep_secrets(settings, plan.operator)
        _make_directories(settings, machine)
        _take_over(settings, plan.operator, machine, say)
        if test_mode.own_certificate(settings):
            _certify(settings, plan.operator, say)
        if settings.embedded_postgres:
            _prepare_cluster(settings, machine, secrets, say)
        plan = _await_external(plan, say)
        timeline.mark("data")
        conf = Path(settings.run, "conf")
        write_directory(conf, render(replace(plan, secrets=secrets)), dict(machine.accounts))
        timeline.mark("render")
        return supervise(
            str(conf / "supervisord.conf"),
            notify_socket(settings),
            timeline,
            prefork=settings.prefork,
            command_socket=control.supervisor_socket(settings) if settings.test_mode else None,
        )
    finally:
        lock.close()


def _await_external(plan: Plan, say: Say) -> Plan:
    """Wait for those servers that are not embedded. Returns the plan as it fits them.

    Raises ConfigError where one does not answer, or cannot be used.
    """
    settings = plan.settings
    own = settings.embedded_postgres or settings.sqlite is not None
    if own and settings.embedded_redis:
        return plan
    # Redis's client takes 0.1 s to import, which a start without external servers is spared.
    from ganglion.programs.postgres import external  # noqa: PLC0415

    if not own:
        any_locale = plan.operator.any_locale
        plan = _fitted(plan, external.await_postgres(settings, say, any_locale=any_locale), say)
    if not settings.embedded_redis:
        external.await_redis(settings, say)
    return plan


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

    A secret that a variable or the operator's files give is not kept: that stays its only place.
    """
    directory = Path(settings.data, "secrets")
    values: dict[str, str] = {}
    for name in (*GENERATED, *GIVEN):
        given: str | None = getattr(settings, name)
        given = _operators(operator, name) or given
        if name == "registration_shared_secret" and settings.test_mode:
            given = given or test_mode.SHARED_SECRET
        if name in GIVEN:
            values[name] = given or ""
        else:
            make = functools.partial(new_secret, settings, name)
            values[name] = given or _kept(directory / name, make)
    path = Path(settings.data, SIGNING_KEY.format(_server_name(settings, operator)))
    given = _operators(operator, "signing_key") or settings.signing_key
    values["signing_key"] = given or _kept(path, new_signing_key)
    return Secrets(**values)


def _server_name(settings: Settings, operator: OperatorFiles) -> str:
    return str(operator.options.get("server_name", settings.server_name))


def _operators(operator: OperatorFiles, name: str) -> str | None:
    """A secret that the operator's files give, in them or in a file of its own: Synapse takes that
    one, whatever a variable says, so those who ask Synapse must know it.
    """
    own = operator.options.get(name)
    if isinstance(own, str):
        return own
    path = operator.options.get(f"{name}_path")
    if isinstance(path, str):
        with contextlib.suppress(OSError, ValueError):
            return Path(path).read_text(encoding="utf-8").strip()
    return None


def new_secret(settings: Settings, name: str) -> str:
    """A secret: that of the file in which Synapse's image kept its own, if it is there, else one
    that is new.
    """
    kind = {"registration_shared_secret": "registration", "macaroon_secret_key": "macaroon"}
    path = Path(settings.data, f"{settings.server_name}.{kind.get(name, name)}.key")
    left = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    return left or generate()


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The text of a file, made first if it is not there."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        value = make()
        write_file(path, f"{value}\n", SECRET, None)
        return value


def new_signing_key() -> str:
    """The line of a new signing key."""
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


def _check_name(settings: Settings, operator: OperatorFiles) -> None:
    """See that a database is not given another name than it was made for: Synapse would refuse it
    once it has users, and other homeservers would take us for somebody else before.
    """
    data, name = Path(settings.data), _server_name(settings, operator)
    made = (data / "postgres" / "PG_VERSION").exists() or (data / "sqlite").exists()
    keys = sorted(
        path.name.removesuffix(SIGNING_KEY[2:]) for path in data.glob(SIGNING_KEY.format("*"))
    )
    if made and keys and name not in keys and settings.signing_key is None:
        raise ConfigError(
            [
                Problem(
                    variable="SYNAPSE_SERVER_NAME",
                    value=name,
                    message=f"is not the name of the server whose data is in {data}:"
                    f" {', '.join(keys)}",
                    hint=f"set it to {keys[0]}, or give another data directory",
                )
            ]
        )


def _take_over(settings: Settings, operator: OperatorFiles, machine: Machine, say: Say) -> None:
    """Give Synapse's account what it writes to, or reads by itself, and another account wrote: that
    of Synapse's own image, run under other numbers.
    """
    account = machine.account("synapse")
    options = operator.options
    named = [options.get(name) for name in ("media_store_path", "signing_key_path", "uploads_path")]
    paths = [Path(settings.data, path) for path in named if isinstance(path, str)]
    paths.append(Path(settings.data, "media_store"))
    # The files of options too, where not everybody may read them: `generate` makes such.
    paths += [path for path in map(Path, operator.paths) if not path.stat().st_mode & 0o004]
    if settings.sqlite is not None:
        # SQLite writes its journal beside the file.
        paths.append(Path(settings.sqlite))
        place = Path(settings.sqlite).parent
        make_directory(place, place.stat().st_mode & 0o777 if place.exists() else 0o755, account)
    for path in paths:
        inside = path.is_relative_to(settings.data) and path != Path(settings.data)
        if inside and hand_over(path, account):
            say(f"{path} belongs to {account} from now on")


def _certify(settings: Settings, operator: OperatorFiles, say: Say) -> None:
    """See that there is a certificate by Complement's authority."""
    from ganglion.data import certificate  # noqa: PLC0415 - only a server for tests pays for it

    name = _server_name(settings, operator)
    directory = Path(settings.paths.complement_certificates)
    if certificate.ensure(directory, Path(settings.authority or ""), name):
        say(f"made a certificate for {name}, signed by {settings.authority}/ca.crt")


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
        *(((data / "logs", 0o750, "synapse"),) if settings.logs_to_disk else ()),
    )
    for path, mode, program in directories:
        make_directory(path, mode, machine.account(program))
    media = data / "media_store"
    if not media.exists():
        make_directory(media, 0o750, machine.account("synapse"))


def _prepare_cluster(settings: Settings, machine: Machine, secrets: Secrets, say: Say) -> None:
    """Make the cluster if there is none, and see that its password is the one in force."""
    place = Path(settings.data, "postgres")
    # What the role's password was last set to: a variable may have brought another since.
    in_force = Path(settings.data, "secrets", "postgres_password_in_force")
    if not (place / "PG_VERSION").exists():
        say("making the database")
        work = postgres_cluster.make_cluster
    elif in_force.exists() and in_force.read_text().strip() == secrets.postgres_password:
        return
    else:
        work = postgres_cluster.set_password
    with in_background(lambda: work(place, settings, machine, secrets.postgres_password)):
        if settings.prefork:
            preload()
    write_file(in_force, f"{secrets.postgres_password}\n", SECRET, None)
