"""control.json, the control application's configuration, as a value."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from ganglion.settings.variables import Settings
from ganglion.topology import topology
from ganglion.topology.topology import Topology


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
    """The paths and servers that the test controls work with.

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
        """Read the JSON that programs/control.py renders for a server in test mode."""
        whole: dict[str, Any] = json.loads(text)
        found: dict[str, Any] = whole["test"]
        found["socket"] = whole["socket"]
        redis = found.pop("redis")
        return cls(
            database=DatabaseConfig(**found.pop("database")),
            agents=MappingProxyType(found.pop("agents")),
            redis=MappingProxyType(redis["connection"]),
            redis_password_file=redis["password_file"],
            **found,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The server that the application watches.

    `socket` is the application's own, `states` the socket at which the supervisor says the state of
    each program, `level` the file with the level of the application's log. `settings` lack every
    secret. `topology` returns the one in force.
    """

    socket: str
    states: str
    level: str
    token: str | None
    settings: Settings
    topology: Callable[[], Topology]

    @classmethod
    def load(cls, text: str) -> Self:
        """Read the JSON that programs/control.py renders, and the token's file. Raises OSError."""
        found: dict[str, Any] = json.loads(text)
        values = {name: _plain(value) for name, value in found["settings"].items()}
        settings = Settings(**values)
        path = found["token_file"]
        return cls(
            socket=found["socket"],
            states=found["states"],
            level=found["level"],
            token=None if path is None else Path(path).read_text(encoding="utf-8").strip(),
            settings=settings,
            topology=LiveTopology(settings),
        )


class LiveTopology:
    """Returns the topology in force, which changes while the server runs: `ganglion apply`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._text: str | None = None
        self._found: Topology | None = None

    def __call__(self) -> Topology:
        """Read the file with the workers in force. Keep the last topology if it cannot be read."""
        text = self._read()
        if self._found is None or text not in (None, self._text):
            self._text = text
            self._found = self._build(text)
        return self._found

    def _read(self) -> str | None:
        try:
            return Path(self._settings.paths.workers).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None

    def _build(self, text: str | None) -> Topology:
        if text is None:
            # Main alone, until the file can be read. Other settings may need a worker.
            return topology.build(
                replace(self._settings, workers="none", restrict_federation=False)
            )
        return topology.build(replace(self._settings, workers=text))


def _plain(value: Any) -> Any:  # noqa: ANN401 - of any setting
    """Return a value of JSON with tuples for its lists, as settings have them."""
    return tuple(_plain(item) for item in value) if isinstance(value, list) else value
