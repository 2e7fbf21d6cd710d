"""The table of variables.

Each field of Settings is one row: the variable's name, its parser, its default, whether it is a
secret, other names it goes by, and one line of documentation. docs/variables.md is made from here.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from ganglion.data.paths import Paths
from ganglion.settings import parsers
from ganglion.settings.synapse_image import DropIn
from ganglion.settings.variable import Variable
from ganglion.settings.variable import row as _row


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(DropIn):
    """Every variable's value. `given` names the variables that were set, the rest are defaults."""

    workers: str | None = _row(
        "WORKERS",
        str,
        None,
        "The workers to run: `auto` for what suits the memory and the processors that there are,"
        " or presets and `name=role+role:COUNT` entries, separated by commas or line breaks.",
        aliases=("SYNAPSE_WORKER_TYPES",),
        shown_default="`auto`",
    )
    memory: int | None = _row(
        "GANGLION_MEMORY",
        parsers.size,
        None,
        "The memory to share out among all processes; see docs/budget.md.",
        shown_default="the container's limit",
    )
    cpus: float | None = _row(
        "GANGLION_CPUS",
        parsers.processors,
        None,
        "The processors to share out, such as 2 or 0.5.",
        shown_default="the container's limit",
    )
    server_name: str = _row(
        "SYNAPSE_SERVER_NAME",
        parsers.server_name,
        "localhost",
        "The domain behind the `:` of user IDs. It can never be changed afterwards.",
        aliases_of_tests=("SERVER_NAME",),
    )
    report_stats: bool = _row(
        "SYNAPSE_REPORT_STATS",
        parsers.boolean,
        False,
        "Whether to send anonymous usage figures to matrix.org.",
    )
    public_baseurl: str | None = _row(
        "SYNAPSE_PUBLIC_BASEURL",
        parsers.base_url,
        None,
        "The URL at which clients reach this homeserver from outside.",
    )
    data: str = _row(
        "GANGLION_DATA",
        parsers.absolute_path,
        "/data",
        "The directory of everything that must persist, and of your own files.",
        aliases=("SYNAPSE_DATA_DIR",),
    )
    run: str = _row(
        "GANGLION_RUN",
        parsers.absolute_path,
        "/run/ganglion",
        "The directory of rendered files and sockets, made anew at every start.",
    )
    http_port: int = _row(
        "HTTP_PORT",
        parsers.port,
        8008,
        "The port of the client and federation API over HTTP.",
        aliases=("SYNAPSE_HTTP_PORT",),
    )
    federation_port: int = _row(
        "FEDERATION_PORT",
        parsers.port,
        8448,
        "The port of the client and federation API over HTTPS, open once there is a certificate.",
    )
    bind_address: str = _row(
        "BIND_ADDRESS",
        parsers.bind_address,
        "*",
        "The address that the ports above listen on; `*` for all, IPv4 and IPv6.",
    )
    trusted_proxies: tuple[str, ...] = _row(
        "TRUSTED_PROXIES",
        parsers.networks,
        tuple[str, ...](),
        "Networks of reverse proxies in front, whose X-Forwarded-For and -Proto are believed;"
        " `private` for every private network.",
        shown_default="none",
    )
    admin_networks: tuple[str, ...] = _row(
        "GANGLION_ADMIN_NETWORKS",
        parsers.networks,
        tuple[str, ...](),
        "Networks from which `/_synapse/admin` can be reached; `private` for every private"
        " network, `all` for everybody.",
        shown_default="none",
    )
    well_known_server: str | None = _row(
        "GANGLION_WELL_KNOWN_SERVER",
        parsers.server_name,
        None,
        "What `/.well-known/matrix/server` answers, such as `matrix.example.org:443`.",
        shown_default="what Synapse answers",
    )
    routes_file: str | None = _row(
        "GANGLION_ROUTES",
        parsers.absolute_path,
        None,
        "A YAML file of routes of your own; see docs/routing.md.",
        shown_default="DATA/routes.yaml",
    )
    initial_syncs: int = _row(
        "GANGLION_INITIAL_SYNCS",
        parsers.whole_number(1, 1000),
        8,
        "How many initial syncs each initial_synchrotron worker runs at once; more are told to"
        " come back.",
    )
    trace_headers: bool = _row(
        "GANGLION_TRACE_HEADERS",
        parsers.boolean,
        False,
        "Whether answers say in X-Ganglion- headers which way they came. For tests.",
    )
    test_mode: bool = _row(
        "GANGLION_TEST_MODE",
        parsers.boolean,
        False,
        "Whether this server is one for tests: open to everybody, without rate limits, and with"
        " controls for tests on the control port. Complement's authority switches it on too. Never"
        " for real users.",
    )
    tls_cert: str | None = _row(
        "SYNAPSE_TLS_CERT", parsers.absolute_path, None, "The TLS certificate chain, a PEM file."
    )
    tls_key: str | None = _row(
        "SYNAPSE_TLS_KEY", parsers.absolute_path, None, "The TLS certificate's key, a PEM file."
    )
    unix_sockets: bool = _row(
        "SYNAPSE_USE_UNIX_SOCKET",
        parsers.boolean,
        True,
        "Whether processes talk over unix sockets; else over TCP on 127.0.0.1.",
    )
    internal_port_base: int = _row(
        "INTERNAL_PORT_BASE",
        parsers.whole_number(1024, 60000),
        18000,
        "The first of the loopback ports, three for each process, used without unix sockets.",
    )
    as_registration_dir: str | None = _row(
        "SYNAPSE_AS_REGISTRATION_DIR",
        parsers.absolute_path,
        None,
        "A directory whose .yaml and .yml files register application services.",
        shown_default="DATA/appservices, where your files name none",
    )
    max_upload_size: int = _row(
        "SYNAPSE_MAX_UPLOAD_SIZE",
        parsers.size,
        50 * 1024**2,
        "The largest file that users may upload.",
        shown_default="50M",
    )
    enable_registration: bool = _row(
        "SYNAPSE_ENABLE_REGISTRATION",
        parsers.boolean,
        False,
        "Whether anybody may register an account, without any verification.",
    )
    log_level: str = _row(
        "SYNAPSE_LOG_LEVEL", parsers.log_level, "INFO", "How much Synapse's processes log."
    )
    logs_to_disk: bool = _row(
        "SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK",
        parsers.boolean,
        False,
        "Whether each of Synapse's processes also logs to a file of its own in DATA/logs.",
    )
    enable_metrics: bool = _row(
        "SYNAPSE_ENABLE_METRICS",
        parsers.boolean,
        False,
        "Whether each process's Prometheus metrics are served on the control port.",
    )
    control_port: int = _row(
        "CONTROL_PORT",
        parsers.port,
        9469,
        "The port of `/metrics/NAME`, open with metrics on, and of the controls for tests, open in"
        " test mode; keep it from the public.",
    )
    prefork: bool = _row(
        "GANGLION_PREFORK",
        parsers.boolean,
        True,
        "Whether Synapse is imported once and its processes are forked from there; else each"
        " starts afresh.",
    )
    asyncio_reactor: bool = _row(
        "SYNAPSE_ASYNC_IO_REACTOR",
        parsers.boolean,
        False,
        "Whether Synapse runs on asyncio's event loop instead of Twisted's own.",
    )
    restrict_federation: bool = _row(
        "GANGLION_RESTRICT_FEDERATION",
        parsers.boolean,
        False,
        "Whether only federation_sender workers talk to other homeservers, for all the others.",
    )
    postgres_host: str | None = _row(
        "POSTGRES_HOST",
        parsers.host_or_directory,
        None,
        "An external PostgreSQL server: host, address or socket directory.",
        shown_default="embedded",
    )
    postgres_port: int = _row("POSTGRES_PORT", parsers.port, 5432, "Its port.")
    postgres_db: str = _row("POSTGRES_DB", parsers.identifier, "synapse", "The database's name.")
    postgres_user: str = _row("POSTGRES_USER", parsers.identifier, "synapse", "The user's name.")
    postgres_sslmode: str | None = _row(
        "POSTGRES_SSLMODE",
        parsers.one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        None,
        "libpq's sslmode for an external server.",
        shown_default="prefer",
    )
    external_wait: float = _row(
        "GANGLION_WAIT",
        parsers.duration,
        120.0,
        "How long to wait at start for an external PostgreSQL or Redis server.",
        shown_default="120s",
    )
    postgres_cp_min: int | None = _row(
        "POSTGRES_CP_MIN",
        parsers.whole_number(1, 100),
        None,
        "The connections that each of Synapse's processes keeps open at least.",
        shown_default="`1`",
    )
    postgres_cp_max: int | None = _row(
        "POSTGRES_CP_MAX",
        parsers.whole_number(1, 100),
        None,
        "The connections that each of Synapse's processes opens at most.",
        shown_default="by role",
    )
    redis_host: str | None = _row(
        "REDIS_HOST",
        parsers.host,
        None,
        "An external Redis server: host or address.",
        shown_default="embedded",
    )
    redis_port: int = _row("REDIS_PORT", parsers.port, 6379, "Its port.")
    redis_dbid: int = _row(
        "REDIS_DBID", parsers.whole_number(0, 1023), 0, "The number of the database in it."
    )
    redis_tls: bool = _row("REDIS_TLS", parsers.boolean, False, "Whether it is spoken to over TLS.")
    postgres_password: str | None = _row(
        "POSTGRES_PASSWORD", parsers.secret, None, "The database user's password.", secret=True
    )
    redis_password: str | None = _row(
        "REDIS_PASSWORD", parsers.secret, None, "The Redis server's password.", secret=True
    )
    signing_key: str | None = _row(
        "SYNAPSE_SIGNING_KEY",
        parsers.signing_key,
        None,
        "The homeserver's signing key, the line of a .signing.key file.",
        secret=True,
    )
    macaroon_secret_key: str | None = _row(
        "SYNAPSE_MACAROON_SECRET_KEY",
        parsers.secret,
        None,
        "Signs short-lived tokens, such as those of logins by SSO.",
        secret=True,
    )
    form_secret: str | None = _row(
        "SYNAPSE_FORM_SECRET", parsers.secret, None, "Signs the forms of web pages.", secret=True
    )
    registration_shared_secret: str | None = _row(
        "SYNAPSE_REGISTRATION_SHARED_SECRET",
        parsers.secret,
        None,
        "Whoever knows it may register users, administrators too.",
        secret=True,
    )
    worker_replication_secret: str | None = _row(
        "SYNAPSE_WORKER_REPLICATION_SECRET",
        parsers.secret,
        None,
        "Authenticates the processes to each other.",
        secret=True,
    )
    given: frozenset[str] = frozenset()
    # Whether WORKERS came by the name that Synapse's own worker image reads, where an entry
    # written twice means two workers.
    repeats_add_up: bool = False
    # In test mode, the directory where Complement's authority is; the certificate is made from it.
    authority: str | None = None
    # In test mode, a directory with more of the operator's files.
    extra_configuration: str | None = None
    # The file of an SQLite database, where there is one instead of PostgreSQL.
    sqlite: str | None = None

    @property
    def paths(self) -> Paths:
        """Every path below the data and run directories."""
        return Paths(data=self.data, run=self.run)

    @property
    def tls(self) -> bool:
        """Whether HTTPS is served."""
        return self.tls_cert is not None and self.tls_key is not None

    @property
    def public_ports(self) -> Mapping[str, int]:
        """The ports that nginx opens to others, by the names of their variables."""
        ports = {"HTTP_PORT": self.http_port}
        if self.tls:
            ports["FEDERATION_PORT"] = self.federation_port
        if self.enable_metrics or self.test_mode:
            ports["CONTROL_PORT"] = self.control_port
        return ports

    @property
    def embedded_postgres(self) -> bool:
        """Whether the PostgreSQL server is one of our own processes."""
        return self.postgres_host is None and self.sqlite is None

    @property
    def embedded_redis(self) -> bool:
        """Whether the Redis server is one of our own processes."""
        return self.redis_host is None


def variables() -> tuple[tuple[str, Variable], ...]:
    """The table: each field of Settings with its row, in order; those of Synapse's images last."""
    rows = [item for item in dataclasses.fields(Settings) if "variable" in item.metadata]
    inherited = {item.name for item in dataclasses.fields(DropIn)}
    rows.sort(key=lambda item: item.name in inherited)
    return tuple((item.name, item.metadata["variable"]) for item in rows)
