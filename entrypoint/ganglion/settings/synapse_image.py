"""The variables of Synapse's own images, for use as a drop-in replacement.

SynapseImageSettings are the rows of variables that only those images have. UNSUPPORTED are the
variables that are ignored or rejected here, with the reason. SUPPORTED lists all the others with
their differences. `scripts/docs` generates a table in docs/drop-in.md from all three.
"""

from dataclasses import dataclass

from ganglion.settings import parsers
from ganglion.settings.variable import row

# Complement copies its certificate authority and application service registrations here:
# https://github.com/matrix-org/complement/blob/main/README.md#complement-pki
COMPLEMENT = "/complement"
# The configuration directory of Synapse's images, to which derived images add files.
EXTRA_CONFIGURATION = "/conf/homeserver.d"
# Synapse itself reads these variables from the environment: one factor for each named cache.
CACHE_FACTOR_PREFIX = "SYNAPSE_CACHE_FACTOR_"
LARGEST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SynapseImageSettings:
    """The rows of Settings for variables of Synapse's images and of Complement."""

    config_path: str | None = row(
        "SYNAPSE_CONFIG_PATH",
        parsers.absolute_path,
        None,
        "The path of your homeserver.yaml.",
        shown_default="homeserver.yaml in SYNAPSE_CONFIG_DIR",
    )
    config_dir: str | None = row(
        "SYNAPSE_CONFIG_DIR",
        parsers.absolute_path,
        None,
        "The directory of your homeserver.yaml and homeserver.d.",
        shown_default="the data directory",
    )
    log_sensitive: bool = row(
        "SYNAPSE_LOG_SENSITIVE",
        parsers.boolean,
        False,
        "Whether SQL is logged at level DEBUG, including passwords and tokens in its values.",
    )
    log_testing: bool = row(
        "SYNAPSE_LOG_TESTING",
        parsers.boolean,
        False,
        "Whether Synapse logs the events that it filters out of responses, and no schema upgrades.",
    )
    http_proxy: str | None = row(
        "SYNAPSE_HTTP_PROXY",
        parsers.line,
        None,
        "The proxy for Synapse's outgoing HTTP requests; passed on as `http_proxy`.",
    )
    https_proxy: str | None = row(
        "SYNAPSE_HTTPS_PROXY",
        parsers.line,
        None,
        "The proxy for Synapse's outgoing HTTPS requests, including federation; passed on as"
        " `https_proxy`.",
    )
    no_proxy: str | None = row(
        "SYNAPSE_NO_PROXY",
        parsers.line,
        None,
        "Hosts, addresses and networks to reach without a proxy, separated by commas; passed on as"
        " `no_proxy`.",
    )
    no_tls: bool | None = row(
        "SYNAPSE_NO_TLS",
        parsers.boolean,
        None,
        "`no` requires SYNAPSE_TLS_CERT; `yes` has no effect.",
        shown_default="by SYNAPSE_TLS_CERT",
    )
    cache_factor: float | None = row(
        "SYNAPSE_CACHE_FACTOR",
        parsers.factor,
        None,
        "The cache factor of every process, instead of the budget's;"
        " `SYNAPSE_CACHE_FACTOR_NAME` sets the factor of one cache.",
        shown_default="by memory",
    )
    event_cache_size: int | None = row(
        "SYNAPSE_EVENT_CACHE_SIZE",
        parsers.size,
        None,
        "How many events each process caches, instead of the budget's number.",
        shown_default="by memory",
    )
    allow_guests: bool = row(
        "SYNAPSE_ALLOW_GUEST",
        parsers.boolean,
        False,
        "Whether guests can use the server without an account.",
    )
    turn_uris: tuple[str, ...] = row(
        "SYNAPSE_TURN_URIS",
        parsers.words,
        tuple[str, ...](),
        "The URIs of TURN servers for calls, separated by commas.",
        shown_default="none",
    )
    recaptcha_public_key: str | None = row(
        "SYNAPSE_RECAPTCHA_PUBLIC_KEY",
        parsers.secret,
        None,
        "The public key of reCAPTCHA. Registration requires reCAPTCHA if it is set.",
    )
    uid: int | None = row(
        "UID",
        parsers.whole_number(0, LARGEST_ID),
        None,
        "The Unix user ID of Synapse's processes, if the container starts as root.",
        shown_default="that of the Unix user synapse, 991 in the image",
    )
    gid: int | None = row(
        "GID",
        parsers.whole_number(0, LARGEST_ID),
        None,
        "The Unix group ID of Synapse's processes.",
        shown_default="`991`",
    )
    complement: str = row(
        "GANGLION_COMPLEMENT",
        parsers.absolute_path,
        COMPLEMENT,
        "The directory of ca/ca.crt and ca/ca.key, which switch test mode on, and of appservice/.",
    )
    complement_workers: bool = row(
        "SYNAPSE_COMPLEMENT_USE_WORKERS",
        parsers.boolean,
        False,
        "Whether to run the preset `complement` if WORKERS is not set. In test mode only.",
        test_mode_only=True,
    )
    complement_database: str | None = row(
        "SYNAPSE_COMPLEMENT_DATABASE",
        parsers.one_of("postgres", "sqlite"),
        None,
        "`postgres`, or `sqlite`, which cannot have workers. In test mode only.",
        shown_default="`postgres`",
        test_mode_only=True,
    )
    complement_asyncio: bool = row(
        "SYNAPSE_COMPLEMENT_USE_ASYNCIO_REACTOR",
        parsers.boolean,
        False,
        "The same as SYNAPSE_ASYNC_IO_REACTOR. In test mode only.",
        aliases=("SYNAPSE_COMPLEMENT_FORKING_LAUNCHER_ASYNC_IO_REACTOR",),
        test_mode_only=True,
    )
    turn_shared_secret: str | None = row(
        "SYNAPSE_TURN_SECRET",
        parsers.secret,
        None,
        "The secret that the TURN servers and Synapse share.",
        secret=True,
        shown_default="none",
    )
    recaptcha_private_key: str | None = row(
        "SYNAPSE_RECAPTCHA_PRIVATE_KEY",
        parsers.secret,
        None,
        "The private key of reCAPTCHA.",
        secret=True,
        shown_default="none",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported:
    """A variable of Synapse's images that has no effect here, and the reason.

    It is rejected if it has a `fix`; otherwise it is ignored.
    """

    name: str
    why: str
    fix: str = ""
    # A value that is accepted, because it changes nothing.
    harmless: str = ""


UNSUPPORTED: tuple[Unsupported, ...] = (
    Unsupported(
        name="SYNAPSE_USE_EXPERIMENTAL_FORKING_LAUNCHER",
        why="processes are always forked from one that has imported Synapse, unless"
        " GANGLION_PREFORK=no",
    ),
    Unsupported(
        name="SYNAPSE_LOG_CONFIG",
        why="the log configuration of each process is generated from SYNAPSE_LOG_LEVEL,"
        " SYNAPSE_LOG_SENSITIVE, SYNAPSE_LOG_TESTING and SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK",
    ),
    Unsupported(
        name="SYNAPSE_WORKER",
        why="selects the application of a single process, but Ganglion runs several",
        fix="set WORKERS instead",
        harmless="synapse.app.homeserver",
    ),
    Unsupported(
        name="SYNAPSE_CONFIG_TEMPLATE_DIR",
        why="selects templates of Synapse's images, which Ganglion does not use",
        fix="put the options that they change into a file in homeserver.d in the data directory",
    ),
    Unsupported(
        name="SYNAPSE_APPSERVICES",
        why="is an internal variable of Synapse's image",
        fix="put the registrations into a directory and set SYNAPSE_AS_REGISTRATION_DIR to it",
    ),
    *(
        Unsupported(
            name=f"SYNAPSE_SMTP_{end}",
            why="is no longer read by Synapse's image",
            fix="put the section `email` into a file in homeserver.d in the data directory",
        )
        for end in ("HOST", "PORT", "USER", "PASSWORD", "FROM", "SSL")
    ),
)
UNSUPPORTED_BY_NAME = {other.name: other for other in UNSUPPORTED}

# Every variable that both Synapse's images and Ganglion read, with the difference, if any. Sources:
# docker/start.py, docker/configure_workers_and_start.py, docker/conf and docker/complement in
# Synapse's repository.
SUPPORTED: tuple[tuple[str, str], ...] = (
    ("SYNAPSE_SERVER_NAME", "`localhost` if unset, which is useful for tests only"),
    ("SYNAPSE_REPORT_STATS", "`no` if unset; metrics have their own variable"),
    (
        "SYNAPSE_WORKER_TYPES",
        "the same syntax and names; `auto` if unset or empty: write `none` to run only main",
    ),
    (
        "SYNAPSE_DATA_DIR",
        "also has the embedded database; generated files are elsewhere, recreated at every start",
    ),
    ("SYNAPSE_CONFIG_DIR", "homeserver.d in it is read too"),
    ("SYNAPSE_CONFIG_PATH", "only `generate` writes there"),
    ("SYNAPSE_AS_REGISTRATION_DIR", "registrations that homeserver.yaml lists are used too"),
    ("SYNAPSE_TLS_CERT", ""),
    ("SYNAPSE_TLS_KEY", ""),
    ("SYNAPSE_NO_TLS", "nginx serves HTTPS, never Synapse itself"),
    ("SYNAPSE_HTTP_PORT", "the port of nginx, for clients and federation"),
    ("SYNAPSE_LOG_LEVEL", ""),
    ("SYNAPSE_LOG_SENSITIVE", "`no` and `0` mean no; in Synapse's image every value means yes"),
    ("SYNAPSE_LOG_TESTING", "`no` and `0` mean no"),
    ("SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK", "the log file of main is main.log, not master.log"),
    ("SYNAPSE_USE_UNIX_SOCKET", "`yes` if unset; nothing listens on ports 8080 or 18009 and up"),
    (
        "SYNAPSE_ENABLE_METRICS",
        "on `CONTROL_BIND_ADDRESS`:9469, with `/metrics/service_discovery`; not on 19090 and up",
    ),
    ("SYNAPSE_ASYNC_IO_REACTOR", ""),
    ("SYNAPSE_CACHE_FACTOR", ""),
    ("SYNAPSE_EVENT_CACHE_SIZE", "if unset, as much as memory allows; 10K in Synapse's image"),
    ("SYNAPSE_HTTP_PROXY", "`http_proxy` and `HTTP_PROXY` work too"),
    ("SYNAPSE_HTTPS_PROXY", "`https_proxy` and `HTTPS_PROXY` work too"),
    ("SYNAPSE_NO_PROXY", "`no_proxy` and `NO_PROXY` work too"),
    ("SYNAPSE_MAX_UPLOAD_SIZE", "applies to nginx too"),
    ("SYNAPSE_ENABLE_REGISTRATION", "`no` means no; in Synapse's image every value means yes"),
    ("SYNAPSE_ALLOW_GUEST", "same as above"),
    ("SYNAPSE_REGISTRATION_SHARED_SECRET", "generated and kept if unset, as in Synapse's image"),
    ("SYNAPSE_MACAROON_SECRET_KEY", "generated and kept if unset, as in Synapse's image"),
    ("SYNAPSE_TURN_URIS", ""),
    ("SYNAPSE_TURN_SECRET", ""),
    ("SYNAPSE_RECAPTCHA_PUBLIC_KEY", ""),
    ("SYNAPSE_RECAPTCHA_PRIVATE_KEY", ""),
    (
        "POSTGRES_HOST",
        "if unset, the server of homeserver.yaml or the embedded one; `db` in Synapse's image",
    ),
    ("POSTGRES_PORT", ""),
    ("POSTGRES_USER", ""),
    ("POSTGRES_PASSWORD", "optional with the embedded server, whose password it becomes"),
    ("POSTGRES_DB", ""),
    ("POSTGRES_CP_MIN", "if unset, 1; 5 in Synapse's image"),
    ("POSTGRES_CP_MAX", "if unset, by role and memory; 10 in Synapse's image"),
    ("UID", "nginx, PostgreSQL and Redis keep their own Unix users"),
    ("GID", ""),
    ("SYNAPSE_COMPLEMENT_USE_WORKERS", "in test mode only"),
    (
        "SYNAPSE_COMPLEMENT_DATABASE",
        "in test mode only; `postgres` if unset, `sqlite` in Synapse's image",
    ),
    ("SYNAPSE_COMPLEMENT_USE_ASYNCIO_REACTOR", "in test mode only"),
    ("SERVER_NAME", "in test mode only; otherwise ignored"),
)
