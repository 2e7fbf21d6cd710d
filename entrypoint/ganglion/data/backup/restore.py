"""Restore a backup into an empty data directory, and its database into an empty one."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ganglion.data.backup import manifest, restoring, verify
from ganglion.data.backup.archive import Damaged
from ganglion.data.backup.extract import Stage
from ganglion.data.backup.manifest import Summary
from ganglion.data.backup.restoring import Journal
from ganglion.data.backup.verify import Progress, Verified
from ganglion.data.lock import locked
from ganglion.errors import ConfigError, Problem
from ganglion.files.write import make_directory
from ganglion.machine import children
from ganglion.machine.installed import Machine
from ganglion.programs.postgres import dump
from ganglion.programs.postgres.client import Client, Failed
from ganglion.programs.postgres.scratch import new_cluster
from ganglion.programs.synapse import schema
from ganglion.settings.variables import Settings

# In bytes: what a cluster has beside its tables, with its write-ahead log.
CLUSTER = 400 * 1024**2
# Entries of a directory that count as none: those of its file system, of scripts/up, of the lock.
NOTHING = frozenset({".lock", ".restoring.new", ".up", "lost+found"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A backup to restore, and where to.

    `media` is where the operator wants the media store, if not in the data directory. `client` is
    that of an external database, and one whose programs can read dumps otherwise.
    """

    path: Path
    settings: Settings
    machine: Machine
    client: Client
    media: Path | None
    say: Callable[[str], None]
    progress: Progress


def restore(request: Request) -> Verified:
    """Restore, or go on with a restore that was interrupted. Returns what the archive held.

    Everything is checked before anything is written. Raises ConfigError, and client.Failed or
    OSError for what fails later; the data directory is as it was then.
    """
    paths = request.settings.paths
    with verify.opened(request.path) as file:
        found = verify.verify(request.path, file, request.progress)
        restoring_one = os.path.lexists(paths.restoring)
        problems = [*_versions(request, found.summary), *_kind(request, found.summary)]
        problems += _names(request, file, found)
        if problems:
            raise ConfigError(problems)
        if not restoring_one:
            _check_empty(request, found.summary)
            _check_room(request, file, found)
        with locked(paths, request.machine):
            journal = _left(request, found)
            if journal is None:
                # Once more, as nobody else can write here now.
                _check_empty(request, found.summary)
                if restoring_one:
                    _check_room(request, file, found)
                journal = _staged(request, file, found)
            elif journal.state == restoring.DATABASE:
                journal = _filled(request, file, found, journal)
            restoring.place(paths, journal)
    return found


def _left(request: Request, found: Verified) -> Journal | None:
    """Return the journal of an interrupted restore that can go on. Discard one that cannot."""
    paths = request.settings.paths
    if not os.path.lexists(paths.restoring):
        return None
    journal = restoring.read(paths)
    if journal is None or journal.state == restoring.STAGING:
        request.say("a restore was interrupted here: it begins anew")
        restoring.discard(paths, journal)
        return None
    if journal.sha256 != found.sha256:
        hint = f"give that one, or remove {paths.data} and restore into an empty directory"
        raise ConfigError([_problem("is not the backup whose restore was interrupted", hint)])
    request.say("a restore was interrupted here: it goes on")
    return journal


def _problem(message: str, hint: str, variable: str = "FILE", value: str | None = None) -> Problem:
    return Problem(variable=variable, value=value, message=message, hint=hint)


def _versions(request: Request, summary: Summary) -> Iterator[Problem]:
    """Yield a problem for each program here that is too old for the archive."""
    here = schema.installed()
    if summary.compatible > here:
        yield _problem(
            f"is of Synapse {summary.synapse}, whose database needs a Synapse of schema"
            f" {summary.compatible} or later; this one has {here}",
            f"use the Ganglion that made it, {summary.ganglion}, or a later one",
        )
    programs = request.client.version()
    if programs < summary.dump:
        yield _problem(
            f"was made by pg_dump {summary.dump}, and pg_restore {programs} cannot read it",
            f"apt-get install postgresql-{summary.dump}, or use a newer image",
        )


def _kind(request: Request, summary: Summary) -> Iterator[Problem]:
    settings = request.settings
    if settings.test_mode != summary.test_mode:
        mode = "in" if summary.test_mode else "outside of"
        value = "yes" if summary.test_mode else "no"
        yield _problem(f"was made {mode} test mode", f"set GANGLION_TEST_MODE={value}")
    if "SYNAPSE_SERVER_NAME" in settings.given and settings.server_name != summary.server_name:
        yield _problem(
            f"is of the server {summary.server_name}",
            f"set SYNAPSE_SERVER_NAME={summary.server_name}",
            "SYNAPSE_SERVER_NAME",
            settings.server_name,
        )
    if summary.kind == "embedded" and settings.postgres_host is not None:
        hint = "unset POSTGRES_HOST; to move to an external server, restore first"
        message = "holds the database of an embedded PostgreSQL server"
        yield _problem(message, hint)
    if summary.kind == "embedded":
        for variable, here, there in (
            ("POSTGRES_DB", settings.postgres_db, summary.name),
            ("POSTGRES_USER", settings.postgres_user, summary.role),
        ):
            if here != there:
                message = f"is {there!r} in the backup"
                yield _problem(message, f"set {variable}={there}", variable, here)
    if summary.kind == "external" and settings.postgres_host is None:
        yield _problem(
            "holds the database of an external PostgreSQL server",
            "make an empty database and set POSTGRES_HOST and the rest of POSTGRES_ to it; the"
            " homeserver.yaml of the backup may name the old one",
        )


def _names(request: Request, file: BinaryIO, found: Verified) -> Iterator[Problem]:
    """Yield paths that cannot be restored here, and a media store without a place."""
    data = PurePosixPath(request.settings.data)
    store = PurePosixPath(found.summary.media)
    run = PurePosixPath(request.settings.run)
    taken = {run.relative_to(data).parts[:1]} if run.is_relative_to(data) else set()
    if request.media is None and store.is_absolute():
        hint = f"name an empty directory for it: --media {store}"
        yield _problem(f"has its media store outside of the data directory, at {store}", hint)
    elif not store.is_absolute():
        try:
            manifest.check_path(f"{manifest.DATA}/{store}")
        except Damaged as error:
            yield _problem(str(error), "use another backup; nothing was written")
    for _, entry in verify.members(file, verify.ends(file).listing):
        if entry.section != manifest.DATA:
            continue
        path = PurePosixPath(entry.below)
        if path.parts[:1] in taken:
            hint = "give another directory as GANGLION_RUN"
            yield _problem(f"has {entry.path!r}, where GANGLION_RUN is", hint)
        if path.is_relative_to(store) or store.is_relative_to(path):
            message = f"has {entry.path!r}, where its media store is"
            yield _problem(message, "use another backup; nothing was written")


def _check_empty(request: Request, summary: Summary) -> None:
    """Raise ConfigError for each place that is not empty."""
    problems = [*not_empty(request), *_external(request, summary)]
    if problems:
        raise ConfigError(problems)


def _check_room(request: Request, file: BinaryIO, found: Verified) -> None:
    """Raise ConfigError if a disk is too small, or the dump damaged. Reads the whole dump."""
    problems = list(_room(request, file, found))
    if problems:
        raise ConfigError(problems)


def not_empty(request: Request) -> Iterator[Problem]:
    """Yield a problem for each place that holds something."""
    settings = request.settings
    data, own = Path(settings.data), set(NOTHING)
    for inside in (Path(settings.run), request.media):
        if inside is not None and inside.is_relative_to(data) and inside != data:
            own.add(inside.relative_to(data).parts[0])
    secrets = Path(settings.paths.kept_secrets)
    if secrets.is_dir() and not any(secrets.iterdir()):
        own.add(secrets.name)
    places = [("GANGLION_DATA", data, own)]
    if request.media is not None:
        places.append(("--media", request.media, {"lost+found"}))
    for variable, path, allowed in places:
        try:
            names = sorted({entry.name for entry in path.iterdir()} - allowed)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield _problem(f"cannot be used: {error.strerror}", "name a directory", variable)
            continue
        if names:
            message = f"is not empty: it holds {', '.join(map(repr, names[:5]))}"
            yield _problem(message, "restore into an empty directory", variable, str(path))


def _external(request: Request, summary: Summary) -> Iterator[Problem]:
    settings = request.settings
    if settings.postgres_host is None:
        return
    where = f"{settings.postgres_db} at {settings.postgres_host}"
    try:
        if not dump.is_empty(request.client):
            message = f"the database {where} is not empty"
            yield _problem(message, "make an empty one for the restore", "POSTGRES_DB")
        ((server, encoding, collate),) = request.client.query(
            "SELECT current_setting('server_version_num')::int / 10000,"
            " pg_encoding_to_char(encoding), datcollate FROM pg_database"
            " WHERE datname = current_database()"
        )
    except Failed as error:
        hint = "see that the server runs, and that POSTGRES_ names it rightly"
        yield _problem(f"the database {where} cannot be used: {error}", hint, "POSTGRES_HOST")
        return
    if int(server) < summary.postgres:
        message = f"is of PostgreSQL {summary.postgres}, and the server at hand has {server}"
        yield _problem(message, "use a server that is as new")
    if encoding != "UTF8" or collate not in ("C", "POSIX"):
        message = f"the database {where} has encoding {encoding} and locale {collate}"
        yield _problem(message, "make one with encoding UTF8 and locale C", "POSTGRES_DB")


def _room(request: Request, file: BinaryIO, found: Verified) -> Iterator[Problem]:
    """Yield a problem for each disk that is too small, or if the dump is damaged."""
    try:
        sizes = needed(request, file, found)
    except Failed as error:
        yield _problem(f"has a dump that cannot be read: {error}", "use another backup")
        return
    for path, size in sizes.items():
        place = next(parent for parent in (path, *path.parents) if parent.exists())
        free = shutil.disk_usage(place).free
        # Each file of the media store takes a part of a block more.
        wanted = size + 4096 * found.members
        if wanted > free:
            message = f"has {free // 1024**2} MB free, and the restore needs {wanted // 1024**2}"
            yield _problem(message, "make room, or name a larger disk", str(path))


def needed(request: Request, file: BinaryIO, found: Verified) -> dict[Path, int]:
    """Return the bytes that each directory has to take. The whole dump is read for it.

    Raises Failed if the dump cannot be read.
    """
    dumped = verify.database(file, verify.ends(file).listing)
    database = max(found.summary.database_size, dump.measure(request.client, dumped, dump.growth))
    cluster = database * 5 // 4 + CLUSTER if request.settings.embedded_postgres else 0
    data, media = Path(request.settings.data), request.media
    sizes = {data: found.files + cluster + (found.media if media is None else 0)}
    if media is not None:
        sizes[media] = found.media
    return sizes


def _staged(request: Request, file: BinaryIO, found: Verified) -> Journal:
    """Write everything to the stage, and return the journal for placing it."""
    paths, machine = request.settings.paths, request.machine
    media = Path(paths.data, found.summary.media) if request.media is None else request.media
    journal = Journal(
        state=restoring.STAGING,
        sha256=found.sha256,
        media=str(media),
        outside=request.media is not None,
    )
    make_directory(Path(paths.restoring), 0o711, "0:0" if machine.accounts else None)
    try:
        restoring.keep(paths, journal)
        with contextlib.closing(Stage(paths, journal, machine.account("synapse"))) as stage:
            for header, entry in verify.members(file, verify.ends(file).listing):
                if entry.section in (manifest.DATA, manifest.OUTSIDE, manifest.MEDIA):
                    stage.write(entry, verify.checked(file, header, entry))
                    request.progress(entry.section, header.offset + header.size)
        if request.settings.embedded_postgres:
            _make_cluster(request, file, found)
            return _whole(request, journal)
        journal = replace(journal, state=restoring.DATABASE)
        _flush(request, journal)
        restoring.keep(paths, journal)
    except Damaged as error:
        restoring.discard(paths, journal)
        hint = "restore again"
        raise ConfigError([_problem(f"changed while it was read: {error}", hint)]) from error
    except BaseException:
        restoring.discard(paths, journal)
        raise
    return _filled(request, file, found, journal)


def _make_cluster(request: Request, file: BinaryIO, found: Verified) -> None:
    summary, cluster = found.summary, Path(request.settings.paths.restoring, restoring.CLUSTER)
    settings, machine = request.settings, request.machine
    with new_cluster(cluster, settings, machine, name=summary.name, role=summary.role) as client:
        _fill(client, request, file, found)


def _fill(client: Client, request: Request, file: BinaryIO, found: Verified) -> None:
    request.say("restoring the database")
    dump.restore(client, verify.database(file, verify.ends(file).listing))
    dump.prune(client, remote_media=found.summary.remote_media)


def _filled(request: Request, file: BinaryIO, found: Verified, journal: Journal) -> Journal:
    """Fill the external database and return the next journal."""
    try:
        fill_external(request, file, found)
    except BaseException:
        with contextlib.suppress(Failed):
            if not dump.is_filled(request.client):
                restoring.discard(request.settings.paths, journal)
        raise
    return _whole(request, journal)


def fill_external(request: Request, file: BinaryIO, found: Verified) -> None:
    """Fill the external database, if that has not been done.

    It was empty before, and is filled in one transaction: if it has tables now, it is filled.
    """
    if dump.is_filled(request.client):
        dump.prune(request.client, remote_media=found.summary.remote_media)
    else:
        _fill(request.client, request, file, found)


def _whole(request: Request, journal: Journal) -> Journal:
    """Have the stage on the disk, then the journal that says so."""
    _flush(request, journal)
    journal = replace(journal, state=restoring.PLACING)
    restoring.keep(request.settings.paths, journal)
    return journal


def _flush(request: Request, journal: Journal) -> None:
    for path in (request.settings.data, *([journal.media] if journal.outside else [])):
        if children.run(["sync", "-f", path], locks=False).returncode:
            raise OSError(5, "sync failed", path)
