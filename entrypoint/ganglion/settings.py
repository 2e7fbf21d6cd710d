"""The table of variables, and how an environment becomes Settings.

Each field of Settings is one row: the variable's name, its parser, its default, whether it is a
secret, other names it goes by, and one line of documentation. docs/variables.md is made from here.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ganglion import parse
from ganglion.errors import ConfigError, Problem

# Every variable that starts like this is ours, so one that is not in the table is a mistake.
OUR_PREFIXES = ("GANGLION_", "SYNAPSE_", "POSTGRES_", "REDIS_")
# Kubernetes adds these to every pod for each service it knows: NAME_SERVICE_HOST, NAME_PORT_…
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)$")
# How alike an unknown name outside our prefixes must be before it is called a misspelling.
# At 0.9 WORKER and WORKERZ are caught, HTTP_PROXY is not taken for HTTP_PORT.
MISSPELT = 0.9

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One row of the table."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    doc: str
    secret: bool = False
    aliases: tuple[str, ...] = ()
    shown_default: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that gives its value directly, the proper one first."""
        return (self.name, *self.aliases)


def _row(
    name: str,
    parser: Callable[[str], T],
    default: T,
    doc: str,
    *,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
    shown_default: str | None = None,
) -> Any:
    return field(
        default=default,
        metadata={
            "variable": Variable(
                name=name,
                parse=parser,
                default=default,
                doc=doc,
                secret=secret,
                aliases=aliases,
                shown_default=shown_default,
            )
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every variable's value. `given` names the variables that were set, the rest are defaults."""

    workers: str | None = _row(
        "WORKERS",
        str,
        None,
        "The workers to run: presets and `name=role+role:COUNT` entries, separated by commas or"
        " line breaks.",
        aliases=("SYNAPSE_WORKER_TYPES",),
        shown_default="small",
    )
    server_name: str = _row(
        "SYNAPSE_SERVER_NAME",
        parse.server_name,
        "localhost",
        "The domain behind the `:` of user IDs. It can never be changed afterwards.",
    )
    report_stats: bool = _row(
        "SYNAPSE_REPORT_STATS",
        parse.boolean,
        False,
        "Whether to send anonymous usage figures to matrix.org.",
    )
    public_baseurl: str | None = _row(
        "SYNAPSE_PUBLIC_BASEURL",
        parse.base_url,
        None,
        "The URL at which clients reach this homeserver from outside.",
    )
    data: str = _row(
        "GANGLION_DATA",
        parse.absolute_path,
        "/data",
        "The directory of everything that must persist, and of your own files.",
        aliases=("SYNAPSE_DATA_DIR",),
    )
    run: str = _row(
        "GANGLION_RUN",
        parse.absolute_path,
        "/run/ganglion",
        "The directory of rendered files and sockets, made anew at every start.",
    )
    http_port: int = _row(
        "HTTP_PORT", parse.port, 8008, "The port of the client and federation API over HTTP."
    )
    federation_port: int = _row(
        "FEDERATION_PORT",
        parse.port,
        8448,
        "The port of the client and federation API over HTTPS, open once there is a certificate.",
    )
    bind_address: str = _row(
        "BIND_ADDRESS",
        parse.bind_address,
        "*",
        "The address that the ports above listen on; `*` for all, IPv4 and IPv6.",
    )
    trusted_proxies: tuple[str, ...] = _row(
        "TRUSTED_PROXIES",
        parse.networks,
        (),
        "Networks of reverse proxies in front, whose X-Forwarded-For and -Proto are believed;"
        " `private` for every private network.",
        shown_default="none",
    )
    tls_cert: str | None = _row(
        "SYNAPSE_TLS_CERT", parse.absolute_path, None, "The TLS certificate chain, a PEM file."
    )
    tls_key: str | None = _row(
        "SYNAPSE_TLS_KEY", parse.absolute_path, None, "The TLS certificate's key, a PEM file."
    )
    unix_sockets: bool = _row(
        "SYNAPSE_USE_UNIX_SOCKET",
        parse.boolean,
        True,
        "Whether processes talk over unix sockets; else over TCP on 127.0.0.1.",
    )
    internal_port_base: int = _row(
        "INTERNAL_PORT_BASE",
        parse.whole_number(1024, 60000),
        18000,
        "The first of the loopback ports, three for each process, used without unix sockets.",
    )
    as_registration_dir: str | None = _row(
        "SYNAPSE_AS_REGISTRATION_DIR",
        parse.absolute_path,
        None,
        "A directory whose .yaml and .yml files register application services.",
    )
    max_upload_size: int = _row(
        "SYNAPSE_MAX_UPLOAD_SIZE",
        parse.size,
        50 * 1024**2,
        "The largest file that users may upload.",
        shown_default="50M",
    )
    enable_registration: bool = _row(
        "SYNAPSE_ENABLE_REGISTRATION",
        parse.boolean,
        False,
        "Whether anybody may register an account, without any verification.",
    )
    log_level: str = _row(
        "SYNAPSE_LOG_LEVEL", parse.log_level, "INFO", "How much Synapse's processes log."
    )
    logs_to_disk: bool = _row(
        "SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK",
        parse.boolean,
        False,
        "Whether each of Synapse's processes also logs to a file of its own in DATA/logs.",
    )
    enable_metrics: bool = _row(
        "SYNAPSE_ENABLE_METRICS",
        parse.boolean,
        False,
        "Whether each process's Prometheus metrics are served on the control port.",
    )
    control_port: int = _row(
        "CONTROL_PORT",
        parse.port,
        9469,
        "The port of `/metrics/NAME`, open with metrics on; keep it from the public.",
    )
    restrict_federation: bool = _row(
        "GANGLION_RESTRICT_FEDERATION",
        parse.boolean,
        False,
        "Whether only federation_sender workers talk to other homeservers, for all the others.",
    )
    postgres_host: str | None = _row(
        "POSTGRES_HOST",
        parse.host,
        None,
        "An external PostgreSQL server: host, address or socket directory.",
        shown_default="embedded",
    )
    postgres_port: int = _row("POSTGRES_PORT", parse.port, 5432, "Its port.")
    postgres_db: str = _row("POSTGRES_DB", parse.identifier, "synapse", "The database's name.")
    postgres_user: str = _row("POSTGRES_USER", parse.identifier, "synapse", "The user's name.")
    postgres_sslmode: str | None = _row(
        "POSTGRES_SSLMODE",
        parse.one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        None,
        "libpq's sslmode for an external server.",
        shown_default="prefer",
    )
    external_wait: float = _row(
        "GANGLION_WAIT",
        parse.duration,
        120.0,
        "How long to wait at start for an external PostgreSQL or Redis server.",
        shown_default="120s",
    )
    postgres_cp_min: int = _row(
        "POSTGRES_CP_MIN",
        parse.whole_number(1, 100),
        1,
        "The connections that each of Synapse's processes keeps open at least.",
    )
    postgres_cp_max: int = _row(
        "POSTGRES_CP_MAX",
        parse.whole_number(1, 100),
        10,
        "The connections that each of Synapse's processes opens at most.",
    )
    redis_host: str | None = _row(
        "REDIS_HOST",
        parse.host,
        None,
        "An external Redis server: host or address.",
        shown_default="embedded",
    )
    redis_port: int = _row("REDIS_PORT", parse.port, 6379, "Its port.")
    redis_dbid: int = _row(
        "REDIS_DBID", parse.whole_number(0, 1023), 0, "The number of the database in it."
    )
    redis_tls: bool = _row(
        "REDIS_TLS", parse.boolean, False, "Whether it is spoken to over TLS."
    )
    postgres_password: str | None = _row(
        "POSTGRES_PASSWORD", parse.secret, None, "The database user's password.", secret=True
    )
    redis_password: str | None = _row(
        "REDIS_PASSWORD", parse.secret, None, "The Redis server's password.", secret=True
    )
    signing_key: str | None = _row(
        "SYNAPSE_SIGNING_KEY",
        parse.signing_key,
        None,
        "The homeserver's signing key, the line of a .signing.key file.",
        secret=True,
    )
    macaroon_secret_key: str | None = _row(
        "SYNAPSE_MACAROON_SECRET_KEY",
        parse.secret,
        None,
        "Signs short-lived tokens, such as those of logins by SSO.",
        secret=True,
    )
    form_secret: str | None = _row(
        "SYNAPSE_FORM_SECRET", parse.secret, None, "Signs the forms of web pages.", secret=True
    )
    registration_shared_secret: str | None = _row(
        "SYNAPSE_REGISTRATION_SHARED_SECRET",
        parse.secret,
        None,
        "Whoever knows it may register users, administrators too.",
        secret=True,
    )
    worker_replication_secret: str | None = _row(
        "SYNAPSE_WORKER_REPLICATION_SECRET",
        parse.secret,
        None,
        "Authenticates the processes to each other.",
        secret=True,
    )
    given: frozenset[str] = frozenset()
    # Whether WORKERS came by the name that Synapse's own worker image reads, where an entry
    # written twice means two workers.
    repeats_add_up: bool = False

    @property
    def tls(self) -> bool:
        """Whether HTTPS is served."""
        return self.tls_cert is not None and self.tls_key is not None

    @property
    def embedded_postgres(self) -> bool:
        """Whether the PostgreSQL server is one of our own processes."""
        return self.postgres_host is None

    @property
    def embedded_redis(self) -> bool:
        """Whether the Redis server is one of our own processes."""
        return self.redis_host is None


def variables() -> tuple[tuple[str, Variable], ...]:
    """The table: each field of Settings with its row, in order."""
    return tuple(
        (row.name, row.metadata["variable"])
        for row in dataclasses.fields(Settings)
        if "variable" in row.metadata
    )


def from_environ(environ: Mapping[str, str], read_file: Callable[[str], str]) -> Settings:
    """Read every variable out of `environ`; a secret's NAME_FILE is read with `read_file`.

    An empty variable counts as not set, as compose files pass unset ones on so.

    Raises ConfigError with every problem found.
    """
    problems: list[Problem] = list(_unknown(environ))
    values: dict[str, Any] = {}
    given: set[str] = set()
    for field_name, variable in variables():
        try:
            text = _text(variable, environ, read_file)
            if text is None:
                continue
            given.add(variable.name)
            values[field_name] = variable.parse(text)
        except ConfigError as error:
            problems.extend(error.problems)
        except parse.Invalid as invalid:
            problems.append(
                Problem(
                    variable=variable.name,
                    value=None if variable.secret else text,
                    message=invalid.message,
                    hint=invalid.hint,
                )
            )
    settings = Settings(
        **values,
        given=frozenset(given),
        repeats_add_up=bool(environ.get("SYNAPSE_WORKER_TYPES")),
    )
    problems.extend(_contradictions(settings))
    if problems:
        raise ConfigError(problems)
    return settings


def _text(
    variable: Variable, environ: Mapping[str, str], read_file: Callable[[str], str]
) -> str | None:
    """The text of one variable under any of its names, or None where it is not set."""
    found = {name: environ[name].strip() for name in variable.names if environ.get(name)}
    found = {name: text for name, text in found.items() if text}
    from_file = f"{variable.name}_FILE"
    path = environ.get(from_file) if variable.secret else None
    if path and found:
        raise ConfigError(
            [
                Problem(
                    variable=variable.name,
                    value=None,
                    message=f"is set, and so is {from_file}",
                    hint=f"set only one of {variable.name} and {from_file}",
                )
            ]
        )
    if path:
        try:
            return read_file(path).strip()
        except OSError as error:
            raise ConfigError(
                [
                    Problem(
                        variable=from_file,
                        value=path,
                        message=f"cannot be read: {error.strerror}",
                        hint="give the path of a readable file that holds the secret alone",
                    )
                ]
            ) from error
    if len(set(found.values())) > 1:
        raise ConfigError(
            [
                Problem(
                    variable=" and ".join(found),
                    value=None,
                    message="are two names of one variable, set to different values",
                    hint=f"set only {variable.name}",
                )
            ]
        )
    return next(iter(found.values()), None)


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    """A problem for each variable that is ours by its prefix, or nearly, but is not in the table."""
    known: set[str] = set()
    for _, variable in variables():
        known.update(variable.names)
        if variable.secret:
            known.add(f"{variable.name}_FILE")
    for name in sorted(environ):
        if name in known or SERVICE_LINK.search(name):
            continue
        ours = name.startswith(OUR_PREFIXES)
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6 if ours else MISSPELT)
        if ours or near:
            yield Problem(
                variable=name,
                value=None,
                message="is not a variable of Ganglion",
                hint=f"did you mean {near[0]}?" if near else "see docs/variables.md for all of them",
            )


def _contradictions(settings: Settings) -> Iterator[Problem]:
    """Problems between variables that are each right by themselves."""
    if (settings.tls_cert is None) != (settings.tls_key is None):
        there, missing = "SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"
        if settings.tls_cert is None:
            there, missing = missing, there
        yield Problem(
            variable=there,
            value=settings.tls_cert or settings.tls_key,
            message=f"is set without {missing}",
            hint=f"set {missing} too, or neither",
        )
    if settings.postgres_cp_min > settings.postgres_cp_max:
        yield Problem(
            variable="POSTGRES_CP_MIN",
            value=str(settings.postgres_cp_min),
            message=f"is more than POSTGRES_CP_MAX, {settings.postgres_cp_max}",
            hint="lower POSTGRES_CP_MIN or raise POSTGRES_CP_MAX",
        )
    for prefix, host in (("POSTGRES", settings.postgres_host), ("REDIS", settings.redis_host)):
        external_only = {f"{prefix}_{end}" for end in ("PORT", "SSLMODE", "TLS", "DBID")}
        for name in sorted(external_only & settings.given if host is None else ()):
            yield Problem(
                variable=name,
                value=None,
                message=f"means nothing without {prefix}_HOST: the server is embedded",
                hint=f"set {prefix}_HOST for an external server, or unset {name}",
            )
    if (
        settings.postgres_host is not None
        and not settings.postgres_host.startswith("/")
        and "POSTGRES_PASSWORD" not in settings.given
    ):
        yield Problem(
            variable="POSTGRES_HOST",
            value=settings.postgres_host,
            message="is set without a password for its user",
            hint="set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE",
        )
    ports = {"HTTP_PORT": settings.http_port}
    if settings.tls:
        ports["FEDERATION_PORT"] = settings.federation_port
    if settings.enable_metrics:
        ports["CONTROL_PORT"] = settings.control_port
    for name, number in ports.items():
        twins = [other for other in ports if other < name and ports[other] == number]
        if twins:
            yield Problem(
                variable=name,
                value=str(number),
                message=f"is the same port as {twins[0]}",
                hint="give each its own port",
            )
