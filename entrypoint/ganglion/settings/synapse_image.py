"""What the users of Synapse's own images set, beside what has the same name here.

DropIn is the rows of those variables that do something, OTHERS the variables that need or can do
nothing here, with the reason. docs/drop-in.md is made from both.
"""

from dataclasses import dataclass

from ganglion.settings import parsers
from ganglion.settings.variable import row

# Where Complement copies its authority and the registrations of application services to:
# https://github.com/matrix-org/complement/blob/main/README.md#complement-pki
COMPLEMENT = "/complement"
# Where Synapse's images have their configuration, and who builds on them puts more of it.
EXTRA_CONFIGURATION = "/conf/homeserver.d"
# What Synapse itself reads out of the environment, a factor for each cache by its name.
CACHE_FACTOR_OF = "SYNAPSE_CACHE_FACTOR_"
ROOMIEST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DropIn:
    """The rows that Settings has for the users of Synapse's images, and of Complement."""

    config_path: str | None = row(
        "SYNAPSE_CONFIG_PATH",
        parsers.absolute_path,
        None,
        "Your homeserver.yaml, where it is not in the directory of your files.",
        shown_default="homeserver.yaml in SYNAPSE_CONFIG_DIR",
    )
    config_dir: str | None = row(
        "SYNAPSE_CONFIG_DIR",
        parsers.absolute_path,
        None,
        "The directory of your files, homeserver.yaml and homeserver.d.",
        shown_default="the data directory",
    )
    log_sensitive: bool = row(
        "SYNAPSE_LOG_SENSITIVE",
        parsers.boolean,
        False,
        "Whether SQL is logged at the level DEBUG, with its values: passwords and tokens too.",
    )
    log_testing: bool = row(
        "SYNAPSE_LOG_TESTING",
        parsers.boolean,
        False,
        "Whether Synapse logs which events it leaves out of answers, and no steps of a new schema.",
    )
    http_proxy: str | None = row(
        "SYNAPSE_HTTP_PROXY",
        parsers.line,
        None,
        "The proxy for Synapse's own requests over HTTP; the processes get it as `http_proxy`.",
    )
    https_proxy: str | None = row(
        "SYNAPSE_HTTPS_PROXY",
        parsers.line,
        None,
        "The proxy for its requests over HTTPS, federation too; they get it as `https_proxy`.",
    )
    no_proxy: str | None = row(
        "SYNAPSE_NO_PROXY",
        parsers.line,
        None,
        "Hosts, addresses and networks to reach without a proxy, with commas; as `no_proxy`.",
    )
    no_tls: bool | None = row(
        "SYNAPSE_NO_TLS",
        parsers.boolean,
        None,
        "`no` asks for HTTPS, which needs SYNAPSE_TLS_CERT; `yes` is how it is without one.",
        shown_default="by SYNAPSE_TLS_CERT",
    )
    cache_factor: float | None = row(
        "SYNAPSE_CACHE_FACTOR",
        parsers.factor,
        None,
        "The factor of every process's caches, instead of what the budget gives each;"
        " `SYNAPSE_CACHE_FACTOR_NAME` that of one cache.",
        shown_default="by memory",
    )
    event_cache_size: int | None = row(
        "SYNAPSE_EVENT_CACHE_SIZE",
        parsers.size,
        None,
        "How many events each process keeps, instead of what the budget gives each.",
        shown_default="by memory",
    )
    allow_guests: bool = row(
        "SYNAPSE_ALLOW_GUEST", parsers.boolean, False, "Whether guests may come without an account."
    )
    turn_uris: tuple[str, ...] = row(
        "SYNAPSE_TURN_URIS",
        parsers.words,
        tuple[str, ...](),
        "The TURN servers for calls, separated by commas.",
        shown_default="none",
    )
    recaptcha_public_key: str | None = row(
        "SYNAPSE_RECAPTCHA_PUBLIC_KEY",
        parsers.secret,
        None,
        "The public key of reCAPTCHA, which registration then asks for.",
    )
    uid: int | None = row(
        "UID",
        parsers.whole_number(0, ROOMIEST),
        None,
        "The number of the user that Synapse's processes run as, where we start as root.",
        shown_default="that of the account synapse, 991 in the image",
    )
    gid: int | None = row(
        "GID",
        parsers.whole_number(0, ROOMIEST),
        None,
        "The number of their group, beside UID.",
        shown_default="`991`",
    )
    complement: str = row(
        "GANGLION_COMPLEMENT",
        parsers.absolute_path,
        COMPLEMENT,
        "The directory of ca/ca.crt and ca/ca.key, which switch test mode on, and appservice/.",
    )
    complement_workers: bool = row(
        "SYNAPSE_COMPLEMENT_USE_WORKERS",
        parsers.boolean,
        False,
        "Whether to run the preset `complement`, where WORKERS says nothing. In test mode only.",
        of_tests=True,
    )
    complement_database: str | None = row(
        "SYNAPSE_COMPLEMENT_DATABASE",
        parsers.one_of("postgres", "sqlite"),
        None,
        "`postgres`, or `sqlite` for main alone. In test mode only.",
        shown_default="`postgres`",
        of_tests=True,
    )
    complement_asyncio: bool = row(
        "SYNAPSE_COMPLEMENT_USE_ASYNCIO_REACTOR",
        parsers.boolean,
        False,
        "The same as SYNAPSE_ASYNC_IO_REACTOR. In test mode only.",
        aliases=("SYNAPSE_COMPLEMENT_FORKING_LAUNCHER_ASYNC_IO_REACTOR",),
        of_tests=True,
    )
    turn_shared_secret: str | None = row(
        "SYNAPSE_TURN_SECRET",
        parsers.secret,
        None,
        "What the TURN servers and Synapse both know.",
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
class Other:
    """A variable of Synapse's images that is not one of ours. With a `fix` it is refused, else it
    counts for nothing, because of `why`.
    """

    name: str
    why: str
    fix: str = ""
    # A value with which it asks for nothing that is not so anyway.
    harmless: str = ""


OTHERS: tuple[Other, ...] = (
    Other(
        name="SYNAPSE_USE_EXPERIMENTAL_FORKING_LAUNCHER",
        why="processes are always forked from one that has imported Synapse, but with"
        " GANGLION_PREFORK=no",
    ),
    Other(
        name="SYNAPSE_LOG_CONFIG",
        why="each process has a log configuration made for it out of SYNAPSE_LOG_LEVEL,"
        " SYNAPSE_LOG_SENSITIVE, SYNAPSE_LOG_TESTING and SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK",
    ),
    Other(
        name="SYNAPSE_WORKER",
        why="chooses the application of one process, and here are several",
        fix="set WORKERS instead",
        harmless="synapse.app.homeserver",
    ),
    Other(
        name="SYNAPSE_CONFIG_TEMPLATE_DIR",
        why="names templates of Synapse's images, which are not used here",
        fix="write what they change into homeserver.d in the data directory",
    ),
    Other(
        name="SYNAPSE_APPSERVICES",
        why="was never read from outside",
        fix="put the registrations into a directory and name it with SYNAPSE_AS_REGISTRATION_DIR",
    ),
    *(
        Other(
            name=f"SYNAPSE_SMTP_{end}",
            why="is read by Synapse's image no more",
            fix="write the section `email` into a file of homeserver.d in the data directory",
        )
        for end in ("HOST", "PORT", "USER", "PASSWORD", "FROM", "SSL")
    ),
)
OTHERS_BY_NAME = {other.name: other for other in OTHERS}

# Every variable that Synapse's images read and that does something here too, with what is different
# about it, if anything. Read from docker/start.py, docker/configure_workers_and_start.py,
# docker/conf and docker/complement of Synapse's repository.
THEIRS: tuple[tuple[str, str], ...] = (
    ("SYNAPSE_SERVER_NAME", "`localhost` without it, which suits nobody but tests"),
    ("SYNAPSE_REPORT_STATS", "`no` without it; metrics have a variable of their own"),
    (
        "SYNAPSE_WORKER_TYPES",
        "the same grammar and names; unset or empty it is `auto`: write `none` for main alone",
    ),
    (
        "SYNAPSE_DATA_DIR",
        "the embedded database is in it too; rendered files are elsewhere and made at every start",
    ),
    ("SYNAPSE_CONFIG_DIR", "homeserver.d in it is read as well"),
    ("SYNAPSE_CONFIG_PATH", "nothing is written there but by `generate`"),
    ("SYNAPSE_AS_REGISTRATION_DIR", "those that homeserver.yaml names count as well"),
    ("SYNAPSE_TLS_CERT", ""),
    ("SYNAPSE_TLS_KEY", ""),
    ("SYNAPSE_NO_TLS", "HTTPS is nginx's; Synapse itself never serves it"),
    ("SYNAPSE_HTTP_PORT", "nginx's port, for clients and federation"),
    ("SYNAPSE_LOG_LEVEL", ""),
    ("SYNAPSE_LOG_SENSITIVE", "`no` and `0` mean no; there, anything set means yes"),
    ("SYNAPSE_LOG_TESTING", "`no` and `0` mean no"),
    ("SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK", "main's file is main.log, not master.log"),
    ("SYNAPSE_USE_UNIX_SOCKET", "`yes` without it; nothing listens on ports 8080 or 18009 and up"),
    (
        "SYNAPSE_ENABLE_METRICS",
        "at `/metrics/NAME` of port 9469 alone, not on ports 19090 and up",
    ),
    ("SYNAPSE_ASYNC_IO_REACTOR", ""),
    ("SYNAPSE_CACHE_FACTOR", ""),
    ("SYNAPSE_EVENT_CACHE_SIZE", "10K there without it; here what memory allows"),
    ("SYNAPSE_HTTP_PROXY", "`http_proxy` and `HTTP_PROXY` themselves work as well"),
    ("SYNAPSE_HTTPS_PROXY", "likewise"),
    ("SYNAPSE_NO_PROXY", "likewise"),
    ("SYNAPSE_MAX_UPLOAD_SIZE", "nginx takes as much"),
    ("SYNAPSE_ENABLE_REGISTRATION", "`no` means no; there, anything set means yes"),
    ("SYNAPSE_ALLOW_GUEST", "likewise"),
    ("SYNAPSE_REGISTRATION_SHARED_SECRET", "made and kept without it, as there"),
    ("SYNAPSE_MACAROON_SECRET_KEY", "made and kept without it, as there"),
    ("SYNAPSE_TURN_URIS", ""),
    ("SYNAPSE_TURN_SECRET", ""),
    ("SYNAPSE_RECAPTCHA_PUBLIC_KEY", ""),
    ("SYNAPSE_RECAPTCHA_PRIVATE_KEY", ""),
    (
        "POSTGRES_HOST",
        "without it the server is embedded, or that of homeserver.yaml; there it is `db`",
    ),
    ("POSTGRES_PORT", ""),
    ("POSTGRES_USER", ""),
    ("POSTGRES_PASSWORD", "with an embedded server it is that one's, and need not be set"),
    ("POSTGRES_DB", ""),
    ("POSTGRES_CP_MIN", "5 there without it"),
    ("POSTGRES_CP_MAX", "10 there without it; here by role and memory"),
    ("UID", "nginx, PostgreSQL and Redis keep accounts of their own"),
    ("GID", ""),
    ("SYNAPSE_COMPLEMENT_USE_WORKERS", "in test mode only"),
    ("SYNAPSE_COMPLEMENT_DATABASE", "`sqlite` there without it; in test mode only"),
    ("SYNAPSE_COMPLEMENT_USE_ASYNCIO_REACTOR", "in test mode only"),
    ("SERVER_NAME", "in test mode only; elsewhere it is somebody else's"),
)
