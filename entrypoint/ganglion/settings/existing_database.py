"""The database that the operator's files or the data directory already have.

It is used or refused, and never left aside for a new and empty one. A variable, or the cluster of
the embedded server, counts more than the files.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.settings import parsers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import impossible
from ganglion.settings.variables import Settings

# Where Synapse has it by default: DEFAULT_CONFIG in synapse/config/database.py.
SQLITE_FILE = "homeserver.db"
# The arguments that say which server, database and user: our settings, parsers and variables.
OF_SERVER: tuple[tuple[str, str, Callable[[str], Any], str], ...] = (
    ("host", "postgres_host", parsers.hosts_or_directories, "POSTGRES_HOST"),
    ("port", "postgres_port", parsers.ports, "POSTGRES_PORT"),
    ("user", "postgres_user", parsers.identifier, "POSTGRES_USER"),
    ("password", "postgres_password", parsers.password, "POSTGRES_PASSWORD"),
    ("dbname", "postgres_db", parsers.identifier, "POSTGRES_DB"),
    ("sslmode", "postgres_sslmode", parsers.line, "POSTGRES_SSLMODE"),
)
# Arguments that are Ganglion's or Synapse's own, with the reason.
REPLACED = {
    "cp_min": "the budget gives each process its connections; POSTGRES_CP_MIN changes it",
    "cp_max": "the budget gives each process its connections; POSTGRES_CP_MAX changes it",
    "cp_openfun": "Synapse sets it",
    "cp_reactor": "Synapse sets it",
    "check_same_thread": "Synapse sets it",
    "dsn": "write host, user and the rest one by one",
}
# Arguments of Twisted's pool that Synapse passes on: twisted.enterprise.adbapi.ConnectionPool.
OF_POOL = frozenset({"cp_good_sql", "cp_name", "cp_noisy", "cp_reconnect"})
# Arguments that mean something on the socket of the embedded server too.
ANYWHERE = OF_POOL | {"application_name", "connect_timeout", "options"}
ENGINES = ("psycopg2", "sqlite3")


def adopt(settings: Settings, operator: OperatorFiles) -> Settings:
    """Return the settings with the database that is there already.

    Raises ConfigError where it cannot be used.
    """
    section = operator.section("database")
    args = _arguments(section)
    if section.get("name", "sqlite3") not in ENGINES:
        raise ConfigError(
            [_problem(operator, f"name is {section['name']!r}", "write psycopg2 or sqlite3")]
        )
    uses_postgres = section.get("name") == "psycopg2"
    if settings.sqlite:
        return settings
    if settings.postgres_host:
        return _with_rest(settings, operator, args) if uses_postgres else settings
    if Path(settings.paths.postgres_version).exists():
        return _with_rest(settings, operator, args) if uses_postgres else settings
    if uses_postgres:
        return _with_rest(_server(settings, operator, args), operator, args)
    named = args.get("database") or operator.options.get("database_path") or SQLITE_FILE
    reason = impossible(str(named))
    if reason:
        raise ConfigError([_problem(operator, f"names an SQLite file, but {reason}", "correct it")])
    path = PurePosixPath(settings.data, str(named))
    return replace(settings, sqlite=str(path)) if _holds_something(Path(path)) else settings


def notes(settings: Settings, operator: OperatorFiles) -> tuple[str, ...]:
    """Return what to know about the database, and each part of `database` that is not used."""
    found: list[str] = []
    if settings.sqlite is not None and not settings.test_mode:
        found.append(
            f"the database is the SQLite file {settings.sqlite}, which workers cannot use; to run"
            " workers, move it to PostgreSQL: `ganglion import --from-sqlite`"
        )
    elif _is_adopted(settings):
        found.append(f"the database is the one in your files, on {settings.postgres_host}")
    where = operator.sources.get("database", "your files")
    found.extend(
        f"{where}: database.{part} has no effect: {why}" for part, why in _lost(settings, operator)
    )
    path = operator.options.get("database_path")
    if path and settings.sqlite != str(PurePosixPath(settings.data, str(path))):
        where = operator.sources.get("database_path", "your files")
        found.append(f"{where}: database_path has no effect: {_in_use(settings)}")
    return tuple(found)


def _in_use(settings: Settings) -> str:
    """Say which database is used instead of that of the files."""
    if settings.sqlite:
        return f"the database is {settings.sqlite}"
    if settings.embedded_postgres:
        return "the embedded PostgreSQL server is used"
    return "POSTGRES_HOST is set" if "POSTGRES_HOST" in settings.given else "database is used"


def _lost(settings: Settings, operator: OperatorFiles) -> Iterator[tuple[str, str]]:
    """Yield each part of the section that is not used, with the reason."""
    section = operator.section("database")
    args = _arguments(section)
    if not section:
        return
    same_engine = (section.get("name") == "psycopg2") == (settings.sqlite is None)
    server = _in_use(settings)
    if not same_engine:
        yield "name", server
    if section.get("data_stores") is not None:
        yield "data_stores", "there is one database"
    kept = {name for name, _ in settings.postgres_args}
    variables = {"database": "POSTGRES_DB"} | {name: item for name, _, _, item in OF_SERVER}
    for name in args:
        if name in kept or (settings.sqlite is not None and name == "database"):
            continue
        if same_engine and name in REPLACED:
            yield f"args.{name}", REPLACED[name]
        elif _is_adopted(settings) and name in variables:
            if variables[name] in settings.given:
                yield f"args.{name}", f"{variables[name]} is set"
        else:
            yield f"args.{name}", server


def _is_adopted(settings: Settings) -> bool:
    """Return whether the files name the external server in use."""
    return settings.postgres_host is not None and "POSTGRES_HOST" not in settings.given


def _arguments(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what `args` sets. Nothing is as good as null."""
    args = section.get("args")
    if not isinstance(args, Mapping):
        return {}
    return {str(name): value for name, value in args.items() if value is not None}


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _server(settings: Settings, operator: OperatorFiles, args: Mapping[str, Any]) -> Settings:
    """Return the settings with the server of the files, where no variable says otherwise."""
    found = dict(args)
    if "database" in found:
        found.setdefault("dbname", found.pop("database"))
    if "user" in found:
        # libpq's default.
        found.setdefault("dbname", found["user"])
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    if not found.get("host"):
        problems.append(
            _problem(
                operator,
                "names a PostgreSQL server, but no args.host",
                "set POSTGRES_HOST to it, or remove the section to use the embedded server",
            )
        )
    for name, field, parser, variable in OF_SERVER:
        if found.get(name) and variable not in settings.given:
            try:
                values[field] = parser(str(found[name]))
            except parsers.Invalid as invalid:
                problems.append(_problem(operator, f"args.{name} {invalid.message}", invalid.hint))
    if problems:
        raise ConfigError(problems)
    return _fitting(replace(settings, **values), operator)


def _fitting(settings: Settings, operator: OperatorFiles) -> Settings:
    """Return the settings. Raises ConfigError where the hosts and the ports do not fit."""
    hosts = (settings.postgres_host or "").count(",") + 1
    ports = str(settings.postgres_port).count(",") + 1
    if ports not in (1, hosts):
        message = f"args.port has {ports} ports for {hosts} hosts"
        raise ConfigError([_problem(operator, message, "write one port, or one for each host")])
    return settings


def _with_rest(settings: Settings, operator: OperatorFiles, args: Mapping[str, Any]) -> Settings:
    """Return the settings with the arguments that say how to connect, not where to.

    Raises ConfigError for those that libpq does not know.
    """
    of_server = {"database", *(name for name, _, _, _ in OF_SERVER)}
    rest = {name: value for name, value in args.items() if name not in of_server | set(REPLACED)}
    if settings.embedded_postgres:
        rest = {name: value for name, value in rest.items() if name in ANYWHERE}
    elif settings.postgres_password is not None:
        rest.pop("passfile", None)
    if not settings.embedded_postgres and not settings.postgres_sslmode and args.get("sslmode"):
        settings = replace(settings, postgres_sslmode=str(args["sslmode"]))
    unknown = [name for name in rest if name not in OF_POOL and not _is_known(name)]
    if unknown:
        message = f"args.{unknown[0]} is not an argument of libpq"
        raise ConfigError([_problem(operator, message, "correct it, or remove it")])
    return replace(settings, postgres_args=tuple(rest.items()))


def _is_known(name: str) -> bool:
    """Return whether libpq has a connection parameter of this name."""
    # Only starts with such arguments need it here.
    from psycopg2 import ProgrammingError  # noqa: PLC0415
    from psycopg2.extensions import parse_dsn  # noqa: PLC0415

    try:
        parse_dsn(f"{name}=x")
    except ProgrammingError:
        return False
    return True


def _problem(operator: OperatorFiles, message: str, hint: str) -> Problem:
    where = operator.sources.get("database", "your files")
    return Problem(variable=where, value=None, message=f"database: {message}", hint=hint)
