"""The upgrade of the embedded cluster to the newest installed version of PostgreSQL.

The cluster stays as it is until a new one is complete: pg_upgrade copies it beside its place, and
one exchange of directories puts the new one there. So a start that ends in between, for whatever
reason, leaves the old cluster in use, and the next start begins again. A new cluster that could not
be made leaves the server on the old version.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ganglion.data.paths import Paths
from ganglion.errors import ConfigError, Problem
from ganglion.files.exchange import exchange
from ganglion.files.file import PUBLIC
from ganglion.files.write import make_directory, write_file
from ganglion.machine.installed import Machine
from ganglion.machine.postgres_versions import cluster_version
from ganglion.programs.postgres import left
from ganglion.programs.postgres.migration import Failed, Migration
from ganglion.settings.variables import Settings

Say = Callable[[str], None]

KEEP, NO = "keep", "no"
# In bytes: a new cluster without data, and the log of its transactions.
SPARE = 300 * 1024**2
MB = 1024**2
# linux/fs.h: share the blocks of another file.
FICLONE = 0x40049409


def clear(settings: Settings, machine: Machine) -> None:
    """End what a killed start has left in the cluster, so that it can be used.

    The data directory is locked. Raises ConfigError if a process does not end.
    """
    paths, account = settings.paths, machine.account("postgres")
    staged, place = Path(paths.postgres_upgrade), Path(paths.postgres)
    if staged.exists():
        _end_left(staged / "work", (place, staged / "new"), account)
    left.forget_server(place, account)


def upgrade(settings: Settings, machine: Machine, say: Say) -> Machine:
    """Upgrade the cluster, if a newer version is installed than its own.

    The data directory is locked. Returns the machine with the version of the cluster: if the
    upgrade fails, that is the old one, which stays in use.
    """
    paths = settings.paths
    clear(settings, machine)
    _put_in_order(paths, say)
    newest, programs = machine.newest_postgres
    old = machine.postgres_version
    if newest <= old or settings.postgres_upgrade == NO:
        return machine
    place, staged = Path(paths.postgres), Path(paths.postgres_upgrade)
    account = machine.account("postgres")
    sockets = Path(paths.postgres_upgrade_sockets)
    migration = Migration(
        old=place,
        new=staged / "new",
        work=staged / "work",
        sockets=sockets,
        old_programs=machine.postgres_bin,
        new_programs=programs,
        new_version=newest,
    )
    try:
        _check(paths, old)
        # Only Ganglion's own account may change its entries.
        make_directory(staged, 0o711, None)
        for directory in (migration.new, migration.work, sockets):
            make_directory(directory, 0o700, account)
        write_file(sockets / "pg_hba.conf", "local all all trust\n", PUBLIC, None, lasting=False)
        clones = _clones(place / "PG_VERSION", staged)
        size = _room(place, clones=clones)
        say(
            f"upgrading the database from PostgreSQL {old} to {newest}:"
            f" {'cloning' if clones else 'copying'} {size // MB} MB"
        )
        with _servers_ended(migration, account):
            migration.run(settings, machine, clones=clones)
        exchange(place, migration.new)
    except (Failed, left.Stays, ConfigError, OSError) as error:
        _remove(staged)
        say(
            f"the database stays at PostgreSQL {old}, because the upgrade to {newest} has failed:"
            f" {error}. It is as it was; see docs/upgrade.md"
        )
        return machine
    finally:
        _remove(sockets)
    _put_in_order(paths, say)
    return replace(machine, postgres_bin=programs, postgres_version=newest)


def kept(paths: Paths) -> tuple[Path, ...]:
    """The clusters of earlier versions that upgrades have left beside the one in use."""
    now = cluster_version(Path(paths.postgres))
    if now is None:
        return ()
    found = Path(paths.data).glob(f"{Path(paths.postgres).name}.*")
    return tuple(
        path
        for path in sorted(found)
        if path.suffix[1:].isdigit()
        and int(path.suffix[1:]) < now
        and cluster_version(path) == int(path.suffix[1:])
    )


def remove_kept(
    paths: Paths, is_ready: Callable[[], bool], served: float, tell: Say, *, every: float = 5.0
) -> None:
    """Remove them once the server has been ready for `served` seconds. It blocks.

    A server that gets ready again in between counts from then. Looks `every` so many seconds.
    """
    since: float | None = None
    while since is None or time.monotonic() - since < served:
        time.sleep(every)
        since = (since or time.monotonic()) if is_ready() else None
    for path in kept(paths):
        _remove(path)
        tell(f"log the new database has served for {served:.0f} s, so {path} has been removed")


def _put_in_order(paths: Paths, say: Say) -> None:
    """Remove an upgrade that was cut off, or end one whose new cluster is in its place already."""
    staged, place = Path(paths.postgres_upgrade), Path(paths.postgres)
    if not staged.exists():
        return
    new = staged / "new"
    version, now = cluster_version(new), cluster_version(place)
    if version is not None and now is not None and version < now:
        # They have been exchanged.
        old = Path(paths.postgres_of(version))
        new.rename(old)
        say(
            f"the database is of PostgreSQL {now} now; that of PostgreSQL {version} is kept in"
            f" {old} until the new one has served"
        )
    _remove(staged)


def _end_left(work: Path, clusters: Iterable[Path], account: str | None) -> None:
    """End the processes of an upgrade that was cut off. Raises ConfigError if one stays."""
    try:
        left.end_programs(work, account)
        for cluster in clusters:
            left.end_server(cluster, account)
    except left.Stays as error:
        hint = "end them, and start again"
        raise ConfigError(
            [Problem(variable="GANGLION_DATA", value=str(work), message=str(error), hint=hint)]
        ) from error


def _check(paths: Paths, old: int) -> None:
    """Raise Failed for a cluster that cannot be upgraded in its place."""
    place, aside = Path(paths.postgres), Path(paths.postgres_of(old))
    if os.path.lexists(aside):
        raise Failed(f"{aside} is there, from an earlier upgrade: move it away")
    if place.is_mount():
        raise Failed(f"{place} is a mount of its own: mount the volume at {paths.data}")
    if any((place / "pg_tblspc").iterdir()):
        raise Failed("the cluster has tablespaces, whose old files no upgrade can tell apart")


def _clones(file: Path, directory: Path) -> bool:
    """Whether the file system can share the blocks of a copy, as btrfs and XFS can."""
    target = directory / "clone"
    try:
        with file.open("rb") as source, target.open("wb") as copy:
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    finally:
        target.unlink(missing_ok=True)
    return True


def _room(place: Path, *, clones: bool) -> int:
    """The size of a cluster, in bytes. Raises Failed if there is no room for a second one."""
    size = sum(
        os.lstat(os.path.join(directory, name)).st_blocks * 512  # noqa: PTH118 - thousands of them
        for directory, _, names in os.walk(place.resolve())
        for name in names
    )
    needed = SPARE if clones else size + SPARE
    found = os.statvfs(place.parent)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise Failed(
            f"it needs {needed // MB} MB of room in {place.parent}, and {free // MB} MB are free"
        )
    return size


@contextlib.contextmanager
def _servers_ended(migration: Migration, account: str | None) -> Iterator[None]:
    """Leave no process behind: pg_upgrade starts servers as daemons. Raises left.Stays."""
    try:
        yield
    finally:
        left.end_programs(migration.work, account)
        for cluster in (migration.old, migration.new):
            left.end_server(cluster, account)


def _remove(path: Path) -> None:
    """Remove a directory with its contents, or the link to the image's cluster."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
