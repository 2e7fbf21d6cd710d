"""The table of variables.

Each field of Settings is one row: the variable's name, its parser, its default, one line of
documentation, and, if they differ from the usual, whether it is secret and its other names.
Rows for logs are in logs.py, of the control port in control.py, for backups in backups.py, for
several containers in parts.py, for PostgreSQL and Redis in stores.py, rows that only Synapse's
images have in synapse_image.py.
`scripts/docs` generates docs/variables.md from this table.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from ganglion.data.paths import Paths
from ganglion.settings import parsers
from ganglion.settings.backups import BackupSettings
from ganglion.settings.control import ControlSettings
from ganglion.settings.fix_names import ALL as ALL_FIXES
from ganglion.settings.fixes import fixes as parse_fixes
from ganglion.settings.logs import LogSettings
from ganglion.settings.parts import PartSettings
from ganglion.settings.stores import StoreSettings
from ganglion.settings.synapse_image import SynapseImageSettings
from ganglion.settings.variable import Variable
from ganglion.settings.variable import row as _row

# The same as LIMIT of in_synapse.shedding, which imports nothing of Ganglion.
REQUESTS_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(LogSettings):
    """The value of every variable. `given` names those that are set; the others have defaults."""

    workers: str | None = _row(
        "WORKERS",
        str,
        None,
        "The workers to run: `auto` to choose them by memory and processors, or a preset and"
        " `name=role+role:COUNT` entries, separated by commas or line breaks.",
        aliases=("SYNAPSE_WORKER_TYPES",),
        shown_default="`auto`",
    )
    memory: int | None = _row(
        "GANGLION_MEMORY",
        parsers.size,
        None,
        "The memory to divide among all processes; see docs/budget.md.",
        shown_default="the container's limit",
    )
    cpus: float | None = _row(
        "GANGLION_CPUS",
        parsers.processors,
        None,
        "The processors to divide among all processes, such as 2 or 0.5.",
        shown_default="the container's limit",
    )
    server_name: str = _row(
        "SYNAPSE_SERVER_NAME",
        parsers.server_name,
        "localhost",
        "The domain after the `:` in user IDs. It cannot be changed later.",
        test_mode_aliases=("SERVER_NAME",),
    )
    report_stats: bool = _row(
        "SYNAPSE_REPORT_STATS",
        parsers.boolean,
        False,
        "Whether to send anonymous usage statistics to matrix.org.",
    )
    public_baseurl: str | None = _row(
        "SYNAPSE_PUBLIC_BASEURL",
        parsers.base_url,
        None,
        "The URL at which clients reach this homeserver.",
    )
    data: str = _row(
        "GANGLION_DATA",
        parsers.absolute_path,
        "/data",
        "The directory for persistent data and for your own configuration files.",
        aliases=("SYNAPSE_DATA_DIR",),
    )
    run: str = _row(
        "GANGLION_RUN",
        parsers.absolute_path,
        "/run/ganglion",
        "The directory for generated files and sockets, recreated at every start.",
    )
    http_port: int = _row(
        "HTTP_PORT",
        parsers.port,
        8008,
        "The HTTP port of the client and federation APIs.",
        aliases=("SYNAPSE_HTTP_PORT",),
    )
    federation_port: int = _row(
        "FEDERATION_PORT",
        parsers.port,
        8448,
        "The HTTPS port of the client and federation APIs, open only if there is a certificate.",
    )
    bind_address: str = _row(
        "BIND_ADDRESS",
        parsers.bind_address,
        "*",
        "The address that the ports above listen on; `*` for all IPv4 and IPv6 addresses.",
    )
    trusted_proxies: tuple[str, ...] = _row(
        "TRUSTED_PROXIES",
        parsers.networks,
        tuple[str, ...](),
        "Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto headers are"
        " trusted; `private` for every private network.",
        shown_default="none",
    )
    admin_networks: tuple[str, ...] = _row(
        "GANGLION_ADMIN_NETWORKS",
        parsers.networks,
        tuple[str, ...](),
        "Networks that can reach `/_synapse/admin`; `private` for every private network, `all`"
        " for everyone.",
        shown_default="none",
    )
    well_known_server: str | None = _row(
        "GANGLION_WELL_KNOWN_SERVER",
        parsers.server_name,
        None,
        "The server that `/.well-known/matrix/server` announces, such as `matrix.example.org:443`.",
        shown_default="Synapse's response",
    )
    routes_file: str | None = _row(
        "GANGLION_ROUTES",
        parsers.absolute_path,
        None,
        "A YAML file with your own routes; see docs/routing.md.",
        shown_default="DATA/routes.yaml",
    )
    initial_syncs: int = _row(
        "GANGLION_INITIAL_SYNCS",
        parsers.whole_number(1, 1000),
        8,
        "How many initial syncs each initial_synchrotron worker runs at once; further ones get"
        " status 429.",
    )
    requests_at_once: int = _row(
        "GANGLION_REQUESTS_AT_ONCE",
        parsers.whole_number(0, 100_000),
        REQUESTS_AT_ONCE,
        "How many requests of clients a Synapse process has in progress while it is busy all the"
        " time; further ones get status 429. Long polls that wait do not count. `0` for any"
        " number, which is the default in test mode.",
    )
    trace_headers: bool = _row(
        "GANGLION_TRACE_HEADERS",
        parsers.boolean,
        False,
        "Whether responses name their route and worker in X-Ganglion- headers. For tests.",
    )
    test_mode: bool = _row(
        "GANGLION_TEST_MODE",
        parsers.boolean,
        False,
        "Whether this is a test server: open to everyone, without rate limits, with test controls"
        " on the control port. Also on if Complement's certificate authority is present. Never for"
        " real users.",
    )
    switch_test_mode: str | None = _row(
        "GANGLION_SWITCH_TEST_MODE",
        parsers.line,
        None,
        "The name of the server whose data may start in test mode though they were made outside of"
        " it, or the other way round. A test server's reset deletes all of them.",
        shown_default="none",
    )
    consistent: bool = _row(
        "GANGLION_CONSISTENT",
        parsers.boolean,
        True,
        "Whether the response to a request that writes is held until every process has seen the"
        " write, for a second at most. In test mode only.",
        test_mode_only=True,
    )
    tls_cert: str | None = _row(
        "SYNAPSE_TLS_CERT",
        parsers.absolute_path,
        None,
        "The PEM file of the TLS certificate chain.",
    )
    tls_key: str | None = _row(
        "SYNAPSE_TLS_KEY", parsers.absolute_path, None, "The PEM file of the certificate's key."
    )
    hsts: float | None = _row(
        "GANGLION_HSTS",
        parsers.duration,
        None,
        "How long browsers must use only HTTPS for this domain (HTTP Strict Transport Security),"
        " such as 365d. It cannot be taken back before.",
        shown_default="off",
    )
    unix_sockets: bool = _row(
        "SYNAPSE_USE_UNIX_SOCKET",
        parsers.boolean,
        True,
        "Whether processes communicate over Unix sockets; otherwise over TCP on 127.0.0.1.",
    )
    internal_port_base: int = _row(
        "INTERNAL_PORT_BASE",
        parsers.whole_number(1024, 60000),
        18000,
        "The first loopback port. Without Unix sockets, each process uses three of them.",
    )
    as_registration_dir: str | None = _row(
        "SYNAPSE_AS_REGISTRATION_DIR",
        parsers.absolute_path,
        None,
        "The directory of application service registrations, .yaml and .yml files.",
        shown_default="DATA/appservices, unless your homeserver.yaml lists registrations",
    )
    max_upload_size: int = _row(
        "SYNAPSE_MAX_UPLOAD_SIZE",
        parsers.size,
        50 * 1024**2,
        "The largest file that users can upload.",
        shown_default="50M",
    )
    enable_registration: bool = _row(
        "SYNAPSE_ENABLE_REGISTRATION",
        parsers.boolean,
        False,
        "Whether anyone can register a Matrix account without verification.",
    )
    enable_metrics: bool = _row(
        "SYNAPSE_ENABLE_METRICS",
        parsers.boolean,
        False,
        "Whether the control port serves the Prometheus metrics of each process.",
    )
    prefork: bool = _row(
        "GANGLION_PREFORK",
        parsers.boolean,
        True,
        "Whether Synapse's processes are forked from one that has imported Synapse; otherwise each"
        " imports it on its own.",
    )
    fixes: tuple[str, ...] = _row(
        "GANGLION_FIXES",
        parse_fixes,
        ALL_FIXES,
        "Which of Synapse's faults are mended: `all`, `none`, names, or all but those named with a"
        " `-`, such as `-device_list_wakes`. docs/fixes.md describes each.",
        shown_default="all",
    )
    watchdog: float = _row(
        "GANGLION_WATCHDOG",
        parsers.duration_of(0, 3600),
        6.0,
        "How long a process may neither respond nor work before it is replaced; one that works"
        " without responding has ten times as long. `0` to replace none.",
        shown_default="6s",
    )
    stop_timeout: float = _row(
        "GANGLION_STOP_TIMEOUT",
        parsers.duration_of(8, 3600),
        10.0,
        "How long a stop may take, shared out among all processes. Give the container as long, such"
        " as with `docker stop -t` or `stop_grace_period`.",
        shown_default="10s",
    )
    asyncio_reactor: bool = _row(
        "SYNAPSE_ASYNC_IO_REACTOR",
        parsers.boolean,
        False,
        "Whether Synapse uses asyncio's event loop instead of Twisted's epoll reactor.",
    )
    restrict_federation: bool = _row(
        "GANGLION_RESTRICT_FEDERATION",
        parsers.boolean,
        False,
        "Whether all requests to other homeservers go through the federation_sender workers.",
    )
    signing_key: str | None = _row(
        "SYNAPSE_SIGNING_KEY",
        parsers.signing_key,
        None,
        "The homeserver's signing key: the one line of a .signing.key file.",
        secret=True,
    )
    replaced_signing_key: str | None = _row(
        "GANGLION_REPLACED_SIGNING_KEY",
        parsers.key_id,
        None,
        "The ID of a lost signing key, such as `ed25519:a_AbCd`, that another or a new one may"
        " replace. Other servers distrust a new key for a while.",
        shown_default="none",
    )
    macaroon_secret_key: str | None = _row(
        "SYNAPSE_MACAROON_SECRET_KEY",
        parsers.secret,
        None,
        "The key that signs short-lived tokens, such as those of SSO logins.",
        secret=True,
    )
    form_secret: str | None = _row(
        "SYNAPSE_FORM_SECRET",
        parsers.secret,
        None,
        "The key that signs the forms on Synapse's web pages.",
        secret=True,
    )
    registration_shared_secret: str | None = _row(
        "SYNAPSE_REGISTRATION_SHARED_SECRET",
        parsers.secret,
        None,
        "The secret that allows anyone who knows it to register users, including administrators.",
        secret=True,
    )
    worker_replication_secret: str | None = _row(
        "SYNAPSE_WORKER_REPLICATION_SECRET",
        parsers.secret,
        None,
        "The secret that the processes use to authenticate to each other.",
        secret=True,
    )
    given: frozenset[str] = frozenset()
    # The files from which secrets were read, by the names of their variables.
    secret_files: tuple[tuple[str, str], ...] = ()
    # Whether the workers were set as SYNAPSE_WORKER_TYPES, where an entry written twice means two
    # workers, as in Synapse's own worker image.
    repeats_add_up: bool = False
    # In test mode, the directory of Complement's certificate authority.
    authority: str | None = None
    # In test mode, a further directory with the operator's files.
    extra_configuration: str | None = None
    # Variables whose value a file replaced.
    overridden: tuple[str, ...] = ()
    # The directory of rendered files if it is not in the run directory, as in an export.
    etc: str = ""

    @property
    def paths(self) -> Paths:
        """Every path below the data and run directories."""
        return Paths(data=self.data, run=self.run, etc=self.etc)

    @property
    def tls(self) -> bool:
        """Whether HTTPS is served."""
        return self.runs_nginx and self.tls_cert is not None and self.tls_key is not None

    @property
    def reachable_at(self) -> str:
        """The address at which this machine itself reaches the public ports."""
        wildcards = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return wildcards.get(self.bind_address, self.bind_address)

    @property
    def control_runs(self) -> bool:
        """Whether the control application runs: always in test mode, which needs its controls.

        Without nginx nobody could reach it.
        """
        return self.test_mode or (self.control and self.runs_nginx)

    @property
    def public_ports(self) -> Mapping[str, int]:
        """The ports that nginx opens to other machines, by the names of their variables."""
        if not self.runs_nginx:
            return {}
        ports = {"HTTP_PORT": self.http_port}
        if self.tls:
            ports["FEDERATION_PORT"] = self.federation_port
        if self.enable_metrics or self.control_runs:
            ports["CONTROL_PORT"] = self.control_port
        return ports


def variables() -> tuple[tuple[str, Variable], ...]:
    """Return each field of Settings with its row, in order; those of Synapse's images last."""
    rows = [item for item in dataclasses.fields(Settings) if "variable" in item.metadata]
    bases = [
        {item.name for item in dataclasses.fields(base)}
        for base in (
            LogSettings,
            ControlSettings,
            BackupSettings,
            PartSettings,
            StoreSettings,
            SynapseImageSettings,
        )
    ]
    rows.sort(key=lambda item: sum(item.name in base for base in bases))
    return tuple((item.name, item.metadata["variable"]) for item in rows)
