"""control.json, the control application's configuration, as a value."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """How to reach the database.

    `sqlite` is the path of its file, or None for PostgreSQL. `administrator` is the role that may
    administer an embedded server; None if that is Synapse's own role, or the server is external.
    """

    sqlite: str | None
    embedded: bool
    administrator: str | None
    name: str
    user: str
    host: str
    port: int
    passfile: str | None
    sslmode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """The paths and servers that the application works with.

    `socket` is the application's own, `supervisor` the supervisor's command socket, `agents` the
    test agent's socket of each Synapse process by its name. `resetting` is the file that exists
    during a reset. `redis` holds the arguments of Redis's client.
    """

    socket: str
    supervisor: str
    resetting: str
    media: str
    agents: Mapping[str, str]
    database: DatabaseConfig
    redis: Mapping[str, Any]
    redis_password_file: str | None

    @classmethod
    def load(cls, text: str) -> Self:
        """Read the JSON that programs/control.py renders."""
        found: dict[str, Any] = json.loads(text)
        redis = found.pop("redis")
        return cls(
            database=DatabaseConfig(**found.pop("database")),
            agents=MappingProxyType(found.pop("agents")),
            redis=MappingProxyType(redis["connection"]),
            redis_password_file=redis["password_file"],
            **found,
        )
