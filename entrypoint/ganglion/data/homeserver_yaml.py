"""The commands `generate` and `migrate_config` of Synapse's own image.

They write a homeserver.yaml from the variables, a signing key and a log configuration. Existing
files are kept. Ganglion does not need these files, as it reads the variables at every start. They
are for people who edit them, or start without the variables afterwards.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganglion.data.paths import SIGNING_KEY_SUFFIX
from ganglion.data.secrets import new_secret, new_signing_key
from ganglion.errors import ConfigError, Problem
from ganglion.files.file import SECRET
from ganglion.files.write import make_directory, write_file
from ganglion.programs.synapse import options as synapse
from ganglion.programs.synapse.logging import logging
from ganglion.settings.operator_files import homeserver_yaml
from ganglion.settings.secrets import GIVEN
from ganglion.settings.variables import Settings
from ganglion.topology import topology

# The variables that Synapse's image requires for this.
NEEDED = ("SYNAPSE_SERVER_NAME", "SYNAPSE_REPORT_STATS")
# The secrets that its file holds.
SECRETS = ("registration_shared_secret", "macaroon_secret_key", "form_secret")
HEADER = """\
# Written once by `ganglion generate` from the variables, and never again: it is yours. These
# options override the variables, except for listeners, database, Redis and workers, which come
# from the variables at every start. See docs/configuration.md and docs/drop-in.md.
"""


def generate(settings: Settings, account: str | None, say: Callable[[str], None]) -> None:
    """Write those of the three files that are missing, owned by `account` if one is given.

    Raises ConfigError without the variables that Synapse's image needs for it, or where a file
    cannot be written.
    """
    missing = [name for name in NEEDED if name not in settings.given]
    if missing:
        raise ConfigError([_needed(name) for name in missing])
    path = homeserver_yaml(settings)
    beside = Path(settings.config_dir or settings.data)
    key = beside / f"{settings.server_name}{SIGNING_KEY_SUFFIX}"
    log = beside / f"{settings.server_name}.log.config"
    main = topology.build(replace(settings, workers="none", sqlite=None)).main
    contents: tuple[tuple[Path, Callable[[], str]], ...] = (
        (path, lambda: HEADER + synapse.as_yaml(_options(settings, key, log))),
        (key, lambda: f"{settings.signing_key or new_signing_key()}\n"),
        (log, lambda: synapse.as_yaml(_logging(settings, main))),
    )
    try:
        for directory in {Path(settings.data), beside, path.parent}:
            if not directory.exists():
                make_directory(directory, 0o755, account)
        for file, content in contents:
            if file.exists():
                say(f"{file} is there already, and stays as it is")
            else:
                write_file(file, content(), SECRET, account)
                say(f"wrote {file}")
    except OSError as error:
        raise ConfigError([_unwritable(settings, error)]) from error


def _logging(settings: Settings, main: topology.Process) -> dict[str, Any]:
    """A logging configuration that Synapse can use wherever it runs, without us."""
    found = logging(settings, main)
    found["handlers"]["console"]["class"] = "logging.StreamHandler"
    return found


def _options(settings: Settings, key: Path, log: Path) -> dict[str, Any]:
    """The options that the variables come to, with secrets in them."""
    values: dict[str, Any] = {
        **synapse.options_of_variables(settings),
        "signing_key_path": str(key),
        "log_config": str(log),
        "media_store_path": settings.paths.media_store,
    }
    for name in SECRETS:
        values[name] = getattr(settings, name) or new_secret(settings, name)
    for name in GIVEN:
        if getattr(settings, name):
            values[name] = getattr(settings, name)
    if settings.cache_factor is not None:
        values["caches"] = {"global_factor": settings.cache_factor}
    if settings.event_cache_size is not None:
        values["event_cache_size"] = settings.event_cache_size
    if settings.postgres_host is not None:
        values["database"] = _database(settings)
    return values


def _database(settings: Settings) -> dict[str, Any]:
    found = {
        "host": settings.postgres_host,
        "port": settings.postgres_port,
        "user": settings.postgres_user,
        "password": settings.postgres_password,
        "dbname": settings.postgres_db,
        "sslmode": settings.postgres_sslmode,
    }
    args = {name: value for name, value in found.items() if value is not None}
    return {"name": "psycopg2", "args": args}


def _needed(name: str) -> Problem:
    return Problem(
        variable=name,
        value=None,
        message="must be set for a homeserver.yaml to be written",
        hint="docker run -e SYNAPSE_SERVER_NAME=example.org -e SYNAPSE_REPORT_STATS=no … generate",
    )


def _unwritable(settings: Settings, error: OSError) -> Problem:
    return Problem(
        variable="GANGLION_DATA",
        value=settings.data,
        message=f"{error.filename or settings.data} cannot be written: {error.strerror}",
        hint="give a directory that this account may write to",
    )
