"""The variables of PostgreSQL and Redis, and what else is known of them."""

from dataclasses import dataclass
from typing import Any

from ganglion.settings import parsers
from ganglion.settings.synapse_image import SynapseImageSettings
from ganglion.settings.variable import row


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings(SynapseImageSettings):
    """The rows of Settings for PostgreSQL and Redis, embedded or external."""

    postgres_host: str | None = row(
        "POSTGRES_HOST",
        parsers.hosts_or_directories,
        None,
        "The host name, IP address or socket directory of an external PostgreSQL server; several"
        " with commas.",
        shown_default="embedded",
    )
    postgres_port: int | str = row(
        "POSTGRES_PORT",
        parsers.ports,
        parsers.ports("5432"),
        "The port of the external PostgreSQL server, or one for each of several hosts.",
    )
    postgres_db: str = row(
        "POSTGRES_DB", parsers.identifier, "synapse", "The name of the database."
    )
    postgres_user: str = row(
        "POSTGRES_USER", parsers.identifier, "synapse", "The name of the database user."
    )
    postgres_sslmode: str | None = row(
        "POSTGRES_SSLMODE",
        parsers.one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        None,
        "libpq's sslmode for the external server.",
        shown_default="prefer",
    )
    external_wait: float = row(
        "GANGLION_WAIT",
        parsers.duration,
        120.0,
        "How long to wait at start for an external PostgreSQL or Redis server.",
        shown_default="120s",
    )
    database_lock: bool = row(
        "GANGLION_DATABASE_LOCK",
        parsers.boolean,
        True,
        "Whether an external database is locked against a second server. `no` only behind a pooler"
        " that shares sessions between clients.",
    )
    postgres_upgrade: str = row(
        "GANGLION_POSTGRES_UPGRADE",
        parsers.one_of("yes", "keep", "no"),
        "yes",
        "Whether a start upgrades the embedded database to the newest installed version of"
        " PostgreSQL. The old one is removed when the new one has served for ten minutes, or stays"
        " with `keep`.",
    )
    postgres_cp_min: int | None = row(
        "POSTGRES_CP_MIN",
        parsers.whole_number(1, 100),
        None,
        "The minimum of database connections that each Synapse process keeps open.",
        shown_default="`1`",
    )
    postgres_cp_max: int | None = row(
        "POSTGRES_CP_MAX",
        parsers.whole_number(1, 100),
        None,
        "The maximum of database connections that each Synapse process opens.",
        shown_default="by role",
    )
    redis_host: str | None = row(
        "REDIS_HOST",
        parsers.host,
        None,
        "The host name or IP address of an external Redis server.",
        shown_default="embedded",
    )
    redis_port: int = row(
        "REDIS_PORT", parsers.port, 6379, "The port of the external Redis server."
    )
    redis_dbid: int = row(
        "REDIS_DBID", parsers.whole_number(0, 1023), 0, "The number of the Redis database."
    )
    redis_tls: bool = row(
        "REDIS_TLS", parsers.boolean, False, "Whether to connect to Redis over TLS."
    )
    postgres_password: str | None = row(
        "POSTGRES_PASSWORD",
        parsers.password,
        None,
        "The password of the database user.",
        secret=True,
    )
    redis_password: str | None = row(
        "REDIS_PASSWORD", parsers.password, None, "The password of the Redis server.", secret=True
    )
    # The path of the SQLite database, if one is used instead of PostgreSQL.
    sqlite: str | None = None
    # Arguments of libpq from the operator's files, for connections to PostgreSQL:
    # existing_database.py. No variable sets them.
    postgres_args: tuple[tuple[str, Any], ...] = ()
    # The socket of an external Redis server, and what else the operator's files say of it.
    redis_path: str | None = None
    redis_args: tuple[tuple[str, Any], ...] = ()

    @property
    def uses_stores(self) -> bool:
        """Whether a process runs here that needs PostgreSQL and Redis: see parts.py."""
        return True

    @property
    def embedded_postgres(self) -> bool:
        """Whether Ganglion runs the PostgreSQL server itself."""
        return self.uses_stores and self.postgres_host is None and self.sqlite is None

    @property
    def external_postgres(self) -> bool:
        """Whether the PostgreSQL server is another machine's or another container's."""
        return self.uses_stores and self.postgres_host is not None and self.sqlite is None

    @property
    def embedded_redis(self) -> bool:
        """Whether Ganglion runs the Redis server itself."""
        return self.uses_stores and self.redis_host is None and self.redis_path is None
