"""Find the database of a data directory that Synapse's own image has used.

It is either used or rejected, and never ignored in favour of a new, empty one. The operator's
homeserver.yaml names it, or it is Synapse's default SQLite file. It is not looked for if a variable
names a database or if the embedded server already has a cluster.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.settings import parsers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings

# Synapse's default: DEFAULT_CONFIG in synapse/config/database.py.
SQLITE_FILE = "homeserver.db"
# Options of `database.args`, each with its field of Settings and its parser.
SETTINGS_OF = (
    ("host", "postgres_host", parsers.host_or_directory),
    ("port", "postgres_port", parsers.port),
    ("user", "postgres_user", parsers.identifier),
    ("password", "postgres_password", parsers.secret),
    ("dbname", "postgres_db", parsers.identifier),
    ("sslmode", "postgres_sslmode", str),
)
# Ignored: the budget sets them, or they make no difference.
IGNORED = frozenset({"cp_min", "cp_max", "cp_openfun", "cp_reconnect", "cp_noisy"})


def adopt(settings: Settings, operator: OperatorFiles) -> Settings:
    """Return the settings with the existing database, if there is one.

    Raises ConfigError if that database cannot be used.
    """
    is_chosen = settings.postgres_host or settings.sqlite
    if is_chosen or Path(settings.paths.postgres_version).exists():
        return settings
    database = operator.options.get("database")
    named = database if isinstance(database, Mapping) else {}
    args = named.get("args")
    arguments: Mapping[str, Any] = args if isinstance(args, Mapping) else {}
    if named.get("name") == "psycopg2":
        return _postgres(settings, arguments)
    path = PurePosixPath(settings.data, str(arguments.get("database") or SQLITE_FILE))
    return replace(settings, sqlite=str(path)) if _is_not_empty(Path(path)) else settings


def notes(settings: Settings, operator: OperatorFiles) -> tuple[str, ...]:
    """Return notes on which database is used, if it is not the embedded server's."""
    found: list[str] = []
    if settings.sqlite is not None and not settings.test_mode:
        found.append(
            f"the database is the SQLite file {settings.sqlite}, which workers cannot use; to run"
            " workers, move it to PostgreSQL (docs/drop-in.md)"
        )
    elif settings.postgres_host is not None and "POSTGRES_HOST" not in settings.given:
        found.append(f"the database is the one in your files, on {settings.postgres_host}")
    elif settings.embedded_postgres and "database" in operator.options:
        found.append(
            "the `database` section of your files is ignored: the embedded server has a database"
        )
    return tuple(found)


def _is_not_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _postgres(settings: Settings, arguments: Mapping[str, Any]) -> Settings:
    """Return the settings with the options of `database.args` that no variable sets."""
    found = {str(name): value for name, value in arguments.items() if name not in IGNORED}
    if "database" in found:
        found.setdefault("dbname", found.pop("database"))
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    if not found.get("host"):
        problems.append(
            _problem(
                "has no host for the PostgreSQL server",
                "set POSTGRES_HOST, or remove the section to use the embedded server",
            )
        )
    for name, field, parser in SETTINGS_OF:
        if name in found:
            try:
                values[field] = _parsed(parser, str(found.pop(name)))
            except parsers.Invalid as invalid:
                problems.append(_problem(f"{name} {invalid.message}", invalid.hint))
    rest = sorted(name for name in found if not name.startswith("keepalives"))
    if rest:
        problems.append(
            _problem(
                f"has unsupported options: {', '.join(rest)}",
                "set POSTGRES_HOST and the other POSTGRES_ variables, and libpq's own variables for"
                " the rest, such as PGSSLROOTCERT",
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


def _parsed(parser: Callable[[str], Any], text: str) -> Any:  # noqa: ANN401 - values of several types
    return parser(text)


def _problem(message: str, hint: str) -> Problem:
    # Without the value, which may be the password.
    return Problem(variable="database.args in your files", value=None, message=message, hint=hint)
