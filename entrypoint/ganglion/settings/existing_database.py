"""The database that a data directory of Synapse's own image already has: used, or refused, never
left aside for a new and empty one.

The operator's homeserver.yaml names it, or nothing does and the file lies there. Where a variable
says otherwise, or the embedded server has a cluster, that was decided and counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.settings import parsers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings

# Where Synapse has it when it is not told: DEFAULT_CONFIG in synapse/config/database.py.
SQLITE_FILE = "homeserver.db"
# What psycopg2 and Synapse take in `args`, as our settings have it.
SETTINGS_OF = (
    ("host", "postgres_host", parsers.host_or_directory),
    ("port", "postgres_port", parsers.port),
    ("user", "postgres_user", parsers.identifier),
    ("password", "postgres_password", parsers.secret),
    ("dbname", "postgres_db", parsers.identifier),
    ("sslmode", "postgres_sslmode", str),
)
# Given by the budget, or always as good.
PASSED_OVER = frozenset({"cp_min", "cp_max", "cp_openfun", "cp_reconnect", "cp_noisy"})


def adopt(settings: Settings, operator: OperatorFiles) -> Settings:
    """The settings with the database that is there already. Raises ConfigError where it is one
    that cannot be used.
    """
    decided = settings.postgres_host or settings.sqlite
    if decided or Path(settings.paths.postgres_version).exists():
        return settings
    database = operator.options.get("database")
    named = database if isinstance(database, Mapping) else {}
    args = named.get("args")
    arguments: Mapping[str, Any] = args if isinstance(args, Mapping) else {}
    if named.get("name") == "psycopg2":
        return _postgres(settings, arguments)
    path = PurePosixPath(settings.data, str(arguments.get("database") or SQLITE_FILE))
    return replace(settings, sqlite=str(path)) if _holds_something(Path(path)) else settings


def notes(settings: Settings, operator: OperatorFiles) -> tuple[str, ...]:
    """What is to be known of an adopted database."""
    found: list[str] = []
    if settings.sqlite is not None and not settings.test_mode:
        found.append(
            f"the database is the SQLite file {settings.sqlite}, which no worker can use; to have"
            " workers, move it to PostgreSQL: docs/drop-in.md"
        )
    elif settings.postgres_host is not None and "POSTGRES_HOST" not in settings.given:
        found.append(f"the database is that of your files, on {settings.postgres_host}")
    elif settings.embedded_postgres and "database" in operator.options:
        found.append("your files set database, but the embedded PostgreSQL server's counts")
    return tuple(found)


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _postgres(settings: Settings, arguments: Mapping[str, Any]) -> Settings:
    """The settings with what `database.args` says of a server, where no variable says it."""
    found = {str(name): value for name, value in arguments.items() if name not in PASSED_OVER}
    if "database" in found:
        found.setdefault("dbname", found.pop("database"))
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    if not found.get("host"):
        problems.append(
            _problem(
                "names a PostgreSQL server, but no host",
                "set POSTGRES_HOST to it, or take the section out for the embedded server",
            )
        )
    for name, field, parser in SETTINGS_OF:
        if name in found:
            try:
                values[field] = _parsed(parser, str(found.pop(name)))
            except parsers.Invalid as invalid:
                problems.append(_problem(f"has {name}, which {invalid.message}", invalid.hint))
    rest = sorted(name for name in found if not name.startswith("keepalives"))
    if rest:
        problems.append(
            _problem(
                f"has {', '.join(rest)}, which cannot be taken over",
                "set POSTGRES_HOST and the other POSTGRES_ variables, and give the rest by libpq's"
                " own, such as PGSSLROOTCERT",
            )
        )
    if problems:
        raise ConfigError(problems)
    given = {
        field: getattr(settings, field)
        for field, variable in (
            ("postgres_user", "POSTGRES_USER"),
            ("postgres_password", "POSTGRES_PASSWORD"),
            ("postgres_db", "POSTGRES_DB"),
        )
        if variable in settings.given
    }
    return replace(settings, **{**values, **given})


def _parsed(parser: Callable[[str], Any], text: str) -> Any:  # noqa: ANN401 - of several kinds
    return parser(text)


def _problem(message: str, hint: str) -> Problem:
    return Problem(variable="database", value=None, message=f"{message} (your files)", hint=hint)
