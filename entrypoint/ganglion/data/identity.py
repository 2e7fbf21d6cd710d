"""Which server a data directory belongs to: server.json, compared at each start.

server.json is written when the database is complete, and again when a start changes it. A data
directory of an older Ganglion has none; it is then written from the files that are there. Removing
`signing_key` or `database` from it lets the next start record another one.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from signedjson.key import encode_verify_key_base64, get_verify_key, read_signing_keys

from ganglion.data import mode_of_data
from ganglion.data.paths import SIGNING_KEY_SUFFIX, Paths
from ganglion.errors import ConfigError, Problem, reason
from ganglion.files.write import write_file
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import LARGEST_FILE, LARGEST_SECRET, parse_json, read_text
from ganglion.settings.variables import Settings

FORMAT = 1
# Secrets are elsewhere; the fingerprint of the signing key is its public half.
MODE = 0o644
KINDS = ("embedded", "external", "sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database: its kind, where it is (a host or a path, empty if embedded), name and role."""

    kind: str
    place: str = ""
    name: str = ""
    role: str = ""

    def __str__(self) -> str:
        if self.kind == "sqlite":
            return f"the SQLite file {self.place}"
        where = f"at {self.place}" if self.place else "embedded"
        return f"{self.name} of {self.role}, {where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The content of server.json.

    `signing_key` is the fingerprint of the signing key: `ed25519:VERSION` and its public half.
    `test_mode` is None in a record from before it was kept. `versions` and `workers` are those of
    the last start.
    """

    server_name: str
    test_mode: bool | None = None
    signing_key: str | None = None
    database: Database | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    workers: str = ""


def server_name(settings: Settings, operator: OperatorFiles) -> str:
    """Return the server name in force: that of the operator's files, else of the variable."""
    return str(operator.options.get("server_name", settings.server_name))


def current(
    settings: Settings, operator: OperatorFiles, versions: Mapping[str, str], workers: str
) -> Record:
    """Return the record of a start with these settings."""
    key = signing_key_in_force(settings, operator)
    return Record(
        server_name=server_name(settings, operator),
        test_mode=settings.test_mode,
        signing_key=fingerprint(key) if key else None,
        database=database_of(settings) if settings.uses_stores else None,
        versions=versions,
        workers=workers,
    )


def database_of(settings: Settings) -> Database:
    """Describe the database that the settings name."""
    if settings.sqlite is not None:
        return Database(kind="sqlite", place=settings.sqlite)
    name, role = settings.postgres_db, settings.postgres_user
    if settings.postgres_host is not None:
        return Database(kind="external", place=settings.postgres_host, name=name, role=role)
    return Database(kind="embedded", name=name, role=role)


def read(paths: Paths) -> Record | None:
    """Read server.json. Return None if there is none.

    Raises ConfigError if it cannot be read; it is never overwritten then.
    """
    path = Path(paths.server_json)
    try:
        text = read_text(path, LARGEST_FILE)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise ConfigError(
            [
                Problem(
                    variable="GANGLION_DATA",
                    value=paths.data,
                    message="is not a directory",
                    hint="give a directory, or a path at which one can be made",
                )
            ]
        ) from error
    except (OSError, ValueError) as error:
        raise _unusable(path, f"cannot be read: {reason(error)}") from error
    try:
        found = parse_json(text)
    except ValueError as error:
        raise _unusable(path, f"is not JSON: {error}") from error
    try:
        return _record(found)
    except ValueError as error:
        raise _unusable(path, str(error)) from error


def keep(paths: Paths, record: Record) -> None:
    """Write server.json, if it says something else."""
    path = Path(paths.server_json)
    database = record.database and {
        name: item for name, item in asdict(record.database).items() if item
    }
    values = {
        "format": FORMAT,
        "server_name": record.server_name,
        "test_mode": record.test_mode,
        "signing_key": record.signing_key,
        "database": database,
        "versions": dict(record.versions),
        "workers": record.workers,
    }
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    with contextlib.suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8") == text:
            return
    write_file(path, text, MODE, None)


def check(settings: Settings, operator: OperatorFiles, record: Record | None) -> None:
    """Compare the data directory's record with the configuration.

    `record` is None for a data directory of an older Ganglion; the names of its signing keys count
    then. Raises ConfigError for every difference that no start may follow.
    """
    mode = mode_of_data.problems(
        settings,
        operator,
        server_name(settings, operator),
        known=record is not None,
        recorded=None if record is None else record.test_mode,
    )
    if record is None:
        problems = [*mode, *_older_name(settings, operator)]
    else:
        problems = [
            *mode,
            *_name(settings, operator, record),
            *_signing_key(settings, operator, record),
            *_database(settings, record),
        ]
    if problems:
        raise ConfigError(problems)


def moved_from(settings: Settings, record: Record | None) -> str | None:
    """Describe the recorded database if an external one replaces it, else return None.

    Such a move is followed if the external database has Synapse's tables.
    """
    if record is None or record.database is None or settings.postgres_host is None:
        return None
    return None if record.database == database_of(settings) else str(record.database)


def signing_key_in_force(settings: Settings, operator: OperatorFiles) -> str | None:
    """Return the signing key: empty if there is none, None if this account may not read it."""
    inline = operator.options.get("signing_key")
    if isinstance(inline, str):
        return inline
    path = operator.options.get("signing_key_path")
    if isinstance(path, str):
        return _text(Path(path))
    if settings.signing_key:
        return settings.signing_key
    return _text(Path(settings.paths.signing_key(server_name(settings, operator))))


def fingerprint(key: str) -> str | None:
    """Return `ed25519:VERSION PUBLIC` of the first signing key of a text; None without one."""
    try:
        (first, *_) = read_signing_keys(key.splitlines())
    # Whatever is in the file: Synapse reports an unusable key best.
    except Exception:  # noqa: BLE001 - ValueError, IndexError, binascii's and nacl's own
        return None
    public = encode_verify_key_base64(get_verify_key(first))
    return f"{first.alg}:{first.version} {public}"


def _text(path: Path) -> str | None:
    try:
        return read_text(path, LARGEST_SECRET).strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError):
        return None


def _record(found: Any) -> Record:  # noqa: ANN401 - any JSON
    """Check the types. Raises ValueError with the reason."""
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - of the value, not of a type
    values = dict(found)
    version = values.pop("format", None)
    if version != FORMAT:
        raise ValueError(f"has format {version!r}; this Ganglion knows {FORMAT}")
    database = values.pop("database", None)
    record: dict[str, Any] = {
        "server_name": values.pop("server_name", None),
        "test_mode": values.pop("test_mode", None),
        "signing_key": values.pop("signing_key", None),
        "workers": values.pop("workers", ""),
        "versions": values.pop("versions", {}),
    }
    for name in ("server_name", "workers"):
        if not isinstance(record[name], str):
            raise ValueError(f"has {name} {record[name]!r}, which is not a text")  # noqa: TRY004
    if not isinstance(record["test_mode"], bool | None):
        message = f"has test_mode {record['test_mode']!r}, which is neither true nor false"
        raise ValueError(message)  # noqa: TRY004
    key = record["signing_key"]
    if key is not None and not (isinstance(key, str) and len(key.split(" ")) == 2):
        raise ValueError(f"has signing_key {key!r}, which is not a fingerprint")
    if not isinstance(record["versions"], dict):
        message = f"has versions {record['versions']!r}, which is not an object"
        raise ValueError(message)  # noqa: TRY004
    if values:
        raise ValueError(f"has the unknown field {next(iter(values))}")
    return Record(**record, database=None if database is None else _database_record(database))


def _database_record(found: Any) -> Database:  # noqa: ANN401 - any JSON
    known = {"kind", "place", "name", "role"}
    fits = isinstance(found, dict) and found.keys() <= known and found.get("kind") in KINDS
    if not fits or not all(isinstance(item, str) for item in found.values()):
        raise ValueError(f"has database {found!r}, which is not a database")
    return Database(**found)


def _unusable(path: Path, message: str) -> ConfigError:
    return ConfigError(
        [
            Problem(
                variable=str(path),
                value=None,
                message=message,
                hint="restore it from a backup, or move it away: the next start writes it anew from"
                " the data directory",
            )
        ]
    )


def _name(settings: Settings, operator: OperatorFiles, record: Record) -> Iterator[Problem]:
    name = server_name(settings, operator)
    if name != record.server_name:
        yield _other_name(settings, operator, record.server_name)


def _older_name(settings: Settings, operator: OperatorFiles) -> Iterator[Problem]:
    """Without a record, the signing keys are named after the server."""
    data, name = Path(settings.data), server_name(settings, operator)
    made = Path(settings.paths.postgres_version).exists() or Path(settings.paths.sqlite).exists()
    keys = sorted(
        path.name.removesuffix(SIGNING_KEY_SUFFIX) for path in data.glob(f"*{SIGNING_KEY_SUFFIX}")
    )
    if made and keys and name not in keys and settings.signing_key is None:
        yield _other_name(settings, operator, *keys)


def _other_name(settings: Settings, operator: OperatorFiles, *names: str) -> Problem:
    """A database must keep its server name.

    Synapse refuses another one once there are users, and other servers would trust the wrong name
    before.
    """
    of_files = operator.sources.get("server_name")
    hint = f"set it to {names[0]}, or give another data directory"
    return Problem(
        variable=f"{of_files}: server_name" if of_files else "SYNAPSE_SERVER_NAME",
        value=server_name(settings, operator),
        message=f"is not the name of the server whose data is in {settings.data}:"
        f" {', '.join(names)}",
        hint=hint,
    )


def _signing_key(settings: Settings, operator: OperatorFiles, record: Record) -> Iterator[Problem]:
    key = signing_key_in_force(settings, operator)
    if record.signing_key is None or key is None:
        return
    found = fingerprint(key)
    if found == record.signing_key or (key and found is None):
        return
    number, public = record.signing_key.split(" ")
    old = operator.section("old_signing_keys").get(number)
    published = isinstance(old, Mapping) and str(old.get("key")).rstrip("=") == public.rstrip("=")
    if settings.replaced_signing_key == number or published:
        return
    place = operator.options.get("signing_key_path") or settings.paths.signing_key(
        server_name(settings, operator)
    )
    if found is None:
        message = f"is not set, and {place} is missing"
        variable = "SYNAPSE_SIGNING_KEY"
    else:
        given = settings.signing_key == key
        variable = "SYNAPSE_SIGNING_KEY" if given else str(place)
        message = f"is the key {found}"
    yield Problem(
        variable=variable,
        value=None,
        message=f"{message}; this server's key is {record.signing_key}"
        f" ({settings.paths.server_json}), and other servers would not trust another one",
        hint=f"give the key back, as SYNAPSE_SIGNING_KEY or in {place}; only if it is lost, set"
        f" GANGLION_REPLACED_SIGNING_KEY={number}",
    )


def _database(settings: Settings, record: Record) -> Iterator[Problem]:
    """A database that is not the recorded one, unless it is external: see moved_from()."""
    now, before = database_of(settings), record.database
    if before is None or not settings.uses_stores or settings.postgres_host is not None:
        return
    file = settings.paths.server_json
    anew = f'to begin with an empty database, remove "database" from {file}'
    if now.kind == before.kind == "embedded":
        for variable, is_, was in (
            ("POSTGRES_DB", now.name, before.name),
            ("POSTGRES_USER", now.role, before.role),
        ):
            if is_ != was:
                yield Problem(
                    variable=variable,
                    value=is_,
                    message=f"is {was} in the embedded PostgreSQL server ({file})",
                    hint=f"set {variable}={was}",
                )
        if not Path(settings.paths.postgres_version).exists():
            yield Problem(
                variable="GANGLION_DATA",
                value=settings.data,
                message=f"has no database in {settings.paths.postgres}, where {file} has one",
                hint=f"restore it from a backup; {anew}",
            )
    elif now.kind == before.kind:
        if now.place != before.place:
            yield _other_database(settings, before, f"restore {before.place}; {anew}")
    else:
        fixes = {
            "external": f"set POSTGRES_HOST={before.place} and the rest of POSTGRES_",
            "sqlite": f"restore {before.place}",
            "embedded": f"restore {settings.paths.postgres}, and unset what names another database",
        }
        yield _other_database(settings, before, f"{fixes[before.kind]}; {anew}")


def _other_database(settings: Settings, before: Database, hint: str) -> Problem:
    return Problem(
        variable="GANGLION_DATA",
        value=settings.data,
        message=f"belongs to a server with the database {before} ({settings.paths.server_json}),"
        f" not {database_of(settings)}",
        hint=hint,
    )
