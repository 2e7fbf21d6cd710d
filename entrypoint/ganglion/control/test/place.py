"""What the control application is told of the server: control.json, as a value."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlace:
    """Where the database is. `sqlite` is its file, if it is one. `administrator` is the role of an
    embedded server that we may take; without one we are Synapse's own role.
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
class Place:
    """Where everything is. `agents` has the socket inside each of Synapse's processes."""

    socket: str
    supervisor: str
    resetting: str
    media: str
    agents: Mapping[str, str]
    database: DatabasePlace
    redis: Mapping[str, Any]
    redis_password_file: str | None

    @classmethod
    def load(cls, text: str) -> Self:
        """Out of JSON that render/control.py made."""
        found: dict[str, Any] = json.loads(text)
        redis = found.pop("redis")
        return cls(
            database=DatabasePlace(**found.pop("database")),
            agents=MappingProxyType(found.pop("agents")),
            redis=MappingProxyType(redis["connection"]),
            redis_password_file=redis["password_file"],
            **found,
        )
