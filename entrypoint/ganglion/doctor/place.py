"""The installation as all checks see it, and the commands that work in it."""

import datetime as dt
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganglion.data import identity
from ganglion.doctor.database import Database
from ganglion.doctor.network import Network
from ganglion.doctor.unavailable import Unavailable
from ganglion.errors import Problem
from ganglion.machine.limits import Limits
from ganglion.machine.unix_accounts import numbers
from ganglion.programs.program import Plan
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings

# The command that restarts everything: one program alone can only be restarted if it is Synapse's.
RESTART = "docker restart NAME    # without Docker: scripts/down && scripts/up"


class Once:
    """A fact that several checks need and that is observed once, by the first that asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: tuple[Any, Exception | None] | None = None

    def get(self, observe: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it observes
        """Return the fact, or raise what its observation raised."""
        with self._lock:
            if self._found is None:
                try:
                    self._found = (observe(), None)
                except Exception as error:  # noqa: BLE001 - each check gets it
                    self._found = (None, error)
        value, failure = self._found
        if failure is not None:
            raise failure
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An installation.

    `plan` is None if the configuration does not work; `problems` says why. `notes` are remarks on a
    configuration that works. `running` says whether its supervisor runs. `now` has a time zone.
    `accounts` are those of Synapse and PostgreSQL, by service; empty if they have this process's
    own. `postgres_role` is the role of the embedded database's administrator. `postgres_bin` is the
    directory of PostgreSQL's programs, if they are installed. `environ` is for TZ alone.
    """

    settings: Settings
    operator: OperatorFiles
    plan: Plan | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    running: bool
    now: dt.datetime
    limits: Limits
    database: Database
    network: Network
    accounts: Mapping[str, str] = field(default_factory=dict)
    postgres_role: str = "postgres"
    postgres_bin: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    discovery: Once = field(default_factory=Once)
    state_groups: Once = field(default_factory=Once)

    @property
    def account(self) -> str | None:
        """Synapse's account, None for this process's own."""
        return self.accounts.get("synapse")

    @property
    def server_name(self) -> str:
        """The server's name in force."""
        return identity.server_name(self.settings, self.operator)

    def option(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - any YAML
        """Return the value of an option of Synapse in the operator's files."""
        value = self.operator.options.get(name)
        return default if value is None else value

    @property
    def public_baseurl(self) -> str | None:
        """The URL for clients in force."""
        value = self.option("public_baseurl", self.settings.public_baseurl)
        return value if isinstance(value, str) else None

    @property
    def own_file(self) -> str:
        """The operator's file to which new options may be added."""
        return f"{self.settings.paths.homeserver_d}/50-own.yaml"

    def file_of(self, option: str) -> str:
        """Return the operator's file that sets an option, or else one to which it may be added.

        A file that sets an option replaces the whole of it in the files before.
        """
        return self.operator.sources.get(option, self.own_file)

    def need_running(self) -> None:
        """Raise Unavailable if the server is stopped."""
        if not self.running:
            raise Unavailable("the server is stopped")

    def psql(self, *statements: str) -> str:
        """Return the shell command that runs statements as Synapse's role."""
        settings, program = self.settings, "psql"
        if self.postgres_bin:
            program = f"{self.postgres_bin}/psql"
        words = [program, "-h", settings.postgres_host or settings.paths.postgres_sockets]
        if settings.postgres_host is not None:
            words += ["-p", str(settings.postgres_port)]
        words += ["-U", settings.postgres_user, "-d", settings.postgres_db]
        words += [word for statement in statements for word in ("-c", statement)]
        command = shlex.join(words)
        if settings.embedded_postgres or Path(settings.paths.pgpass).exists():
            command = f"PGPASSFILE={shlex.quote(settings.paths.pgpass)} {command}"
        return command

    def administrator(self, program: str, *arguments: str) -> str:
        """Return the shell command that runs one of PostgreSQL's programs as its administrator."""
        settings = self.settings
        words = [f"{self.postgres_bin}/{program}" if self.postgres_bin else program]
        if settings.embedded_postgres:
            words += ["-h", settings.paths.postgres_sockets, "-U", self.postgres_role]
            owner = self.accounts.get("postgres")
            if owner:
                user, group = numbers(owner)
                flags = [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
                words = ["setpriv", *flags, *words]
        else:
            words += ["-h", str(settings.postgres_host), "-p", str(settings.postgres_port)]
            words += ["-U", "postgres"]
        return shlex.join([*words, *arguments])
