"""Checks of the data directory: media, room on the disk, owners and modes, leftovers."""

import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from ganglion.data.paths import SIGNING_KEY_SUFFIX
from ganglion.doctor.content import megabytes
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable
from ganglion.machine.acting import groups_of
from ganglion.machine.unix_accounts import numbers
from ganglion.programs.postgres import server as postgres

MB = 1024**2
DAY_MS = 24 * 3600 * 1000
# The time over which growth is measured, in days.
GROWTH = 7
# Days left from which to warn, and from which it is a fault.
FEW_DAYS, LAST_DAYS = 30, 3
# The same for free room: a part of a small disk, or bytes, as a large one is not full at that part.
LITTLE, LITTLE_BYTES = 0.05, 10 * 1024 * MB
LEAST, LEAST_BYTES = 0.01, 1024 * MB
# Below it a disk of any size is nearly full.
FULL = 200 * MB
# More days than this mean no end that anyone can see.
MANY_DAYS = 9999
SECRET = 0o077


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The media store: whether Synapse's account can write to it, and how to make that so."""

    path: str
    problem: str | None
    account: str
    repair: str = ""


def observe_store(place: Place) -> Store:
    """Try the directory with the rights of Synapse's account."""
    settings = place.settings
    path = Path(settings.data, str(place.option("media_store_path", settings.paths.media_store)))
    account, quoted = place.account or "this account", quote(str(path))
    if not path.exists():
        if not place.running and not Path(settings.paths.server_json).exists():
            raise Unavailable("the server has not been started yet")
        return Store(
            path=str(path),
            problem="is missing",
            account=account,
            repair=f"install -d -m 0750 {_owner_option(place)}{quoted}",
        )
    if not path.is_dir():
        return Store(
            path=str(path),
            problem="is not a directory",
            account=account,
            repair=f"mv {quoted} {quoted}.old",
        )
    problem = _unwritable(path, place.account)
    owner = place.account if place.account and ":" in place.account else f"{place.account}:"
    repair = (
        f"chown -R {owner} {quoted} && chmod u+rwx {quoted}"
        if place.account
        else f"chmod u+rwx {quoted}"
    )
    if problem == "is on a file system that is read-only":
        repair = "dmesg | tail    # why; then remount it, or mount the volume without `:ro`"
    return Store(path=str(path), problem=problem, account=account, repair=repair)


def _owner_option(place: Place) -> str:
    if place.account is None:
        return ""
    user, group = numbers(place.account)
    return f"-o {user} -g {group} "


def _unwritable(path: Path, account: str | None) -> str | None:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "is on a file system that is read-only"
    if account is None:
        allowed = os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
    else:
        # A program with the account's rights: this process has other threads.
        user, group = numbers(account)
        command = 'test -r "$0" && test -w "$0" && test -x "$0"'
        allowed = (
            subprocess.run(
                ["/bin/sh", "-c", command, str(path)],
                user=user,
                group=group,
                extra_groups=groups_of(account),
                cwd="/",
                check=False,
            ).returncode
            == 0
        )
    return None if allowed else "is not writable"


def judge_store(found: Store) -> Iterator[Finding]:
    """Judge the media store."""
    if found.problem is None:
        yield good(f"{found.account} can write to {found.path}")
    else:
        yield bad(
            f"the media store {found.path} {found.problem} for {found.account}",
            "every upload fails, and media of other servers are not shown",
            found.repair,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Room on the disk of a directory, in bytes, and the growth of its content in bytes a day."""

    path: str
    free: int
    size: int
    inodes: float
    growth: float | None = None

    @property
    def days(self) -> float | None:
        """Days until the disk is full, MANY_DAYS at most; None if growth is none or unknown."""
        return min(self.free / self.growth, MANY_DAYS) if self.growth else None


def observe_disk(place: Place) -> tuple[Disk, ...]:
    """Look at the disks of the data directory and of the media store."""
    settings = place.settings
    media = Path(settings.data, str(place.option("media_store_path", settings.paths.media_store)))
    growth = _growth(place)
    found: dict[int, Disk] = {}
    for path in (Path(settings.data), media, Path(settings.paths.postgres)):
        if not path.exists():
            continue
        room = os.statvfs(path)
        found.setdefault(
            path.stat().st_dev,
            Disk(
                path=str(path),
                free=room.f_bavail * room.f_frsize,
                size=room.f_blocks * room.f_frsize,
                inodes=room.f_favail / room.f_files if room.f_files else 1.0,
                growth=growth,
            ),
        )
    if not found:
        raise Unavailable("there are no data yet")
    return tuple(found.values())


def _growth(place: Place) -> float | None:
    """Return the bytes that media and, in an embedded server, events take in a day."""
    since = int(place.now.timestamp() * 1000) - GROWTH * DAY_MS
    try:
        ((local, remote),) = place.database.rows(
            "SELECT (SELECT coalesce(sum(media_length), 0) FROM local_media_repository"
            " WHERE created_ts > %s)::bigint,"
            " (SELECT coalesce(sum(media_length), 0) FROM remote_media_cache"
            " WHERE created_ts > %s)::bigint",
            (since, since),
        )
        ((newest, before, events, size),) = place.database.rows(
            "SELECT (SELECT max(stream_ordering) FROM events),"
            " (SELECT stream_ordering FROM events WHERE origin_server_ts <= %s"
            " ORDER BY origin_server_ts DESC LIMIT 1),"
            " (SELECT greatest(reltuples, 1) FROM pg_class WHERE oid = 'events'::regclass)::bigint,"
            " pg_database_size(current_database())",
            (since,),
        )
    except Unavailable:
        return None
    # A younger server has grown to its size in that time.
    if before is None or not place.settings.embedded_postgres:
        database = 0.0
    else:
        database = max(0, newest - before) * size / max(events, 1)
    return (float(local) + float(remote) + database) / GROWTH


def judge_disk(found: tuple[Disk, ...]) -> Iterator[Finding]:
    """Judge the room that is left, and for how long."""
    means = "PostgreSQL stops when the disk is full, and the whole server with it"
    faults = False
    for disk in found:
        repair = (
            f"du -xh --max-depth=2 {quote(disk.path)} | sort -h | tail    # enlarge the disk, or",
            "media_retention: {remote_media_lifetime: 90d}    # in homeserver.d",
        )
        days = "" if disk.days is None else f"; at the present growth for {disk.days:.0f} days"
        text = f"{disk.path} has {megabytes(disk.free)} left of {megabytes(disk.size)}{days}"
        days_left = MANY_DAYS if disk.days is None else disk.days
        least = max(FULL, min(LEAST * disk.size, LEAST_BYTES))
        if disk.free < least or days_left < LAST_DAYS:
            faults = True
            yield bad(text, means, *repair)
        elif disk.free < min(LITTLE * disk.size, LITTLE_BYTES) or days_left < FEW_DAYS:
            faults = True
            yield notice(text, means, *repair)
        if disk.inodes < LITTLE:
            faults = True
            yield notice(
                f"the file system of {disk.path} has {disk.inodes:.1%} of its inodes left",
                means,
                *repair,
            )
    if not faults:
        disk = found[0]
        days = "" if disk.days is None else f", for {disk.days:.0f} days of growth"
        yield good(f"{megabytes(disk.free)} left of {megabytes(disk.size)}{days}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A file or directory whose owner or mode is wrong, and the command that corrects it."""

    path: str
    problem: str
    means: str
    level: str
    repair: str


def observe_modes(place: Place) -> tuple[tuple[Mode, ...], int]:
    """Look at secrets, the database's directory and the operator's files."""
    settings = place.settings
    data = Path(settings.data)
    if not data.is_dir():
        raise Unavailable("there are no data yet")
    found: list[Mode] = []
    paths = [Path(settings.paths.kept_secrets), *data.glob(f"*{SIGNING_KEY_SUFFIX}")]
    if paths[0].is_dir():
        paths += sorted(paths[0].iterdir())
    named = place.option("signing_key_path")
    if isinstance(named, str):
        paths.append(Path(settings.data, named))
    if settings.tls_key is not None:
        paths.append(Path(settings.tls_key))
    seen = [path for path in dict.fromkeys(paths) if path.exists()]
    for path in seen:
        mode = path.stat().st_mode
        # Only the owner; a TLS key may be for the owner's group, as of Debian's ssl-cert.
        allowed = 0o007 if str(path) == settings.tls_key else SECRET
        if mode & allowed:
            found.append(
                Mode(
                    path=str(path),
                    problem=f"has mode {stat.S_IMODE(mode):04o}",
                    means="other accounts of this machine can read a secret",
                    level="bad",
                    repair=f"chmod {'go' if allowed == SECRET else 'o'}= {quote(str(path))}",
                )
            )
    found += _database_owner(place)
    found += _options_with_secrets(place)
    return tuple(found), len(seen)


def _database_owner(place: Place) -> Iterator[Mode]:
    cluster = Path(place.settings.paths.postgres)
    if not cluster.is_dir():
        return
    account = place.accounts.get(postgres.NAME)
    user = numbers(account)[0] if account else os.geteuid()
    # The link to the image's database has its owner.
    owner = cluster.stat().st_uid
    if owner != user:
        yield Mode(
            path=str(cluster),
            problem=f"belongs to UID {owner}, and PostgreSQL runs as UID {user}",
            means="a start hands it over, which takes long, or PostgreSQL does not start",
            level="bad",
            repair=f"chown -R {user} {quote(str(cluster))}",
        )
    mode = stat.S_IMODE(cluster.stat().st_mode)
    if mode & 0o027:
        yield Mode(
            path=str(cluster),
            problem=f"has mode {mode:04o}",
            means="PostgreSQL refuses to start, as others could read or write its files",
            level="bad",
            repair=f"chmod 0700 {quote(str(cluster))}",
        )


def _options_with_secrets(place: Place) -> Iterator[Mode]:
    """Yield the operator's files that hold a secret and are readable by everyone."""
    from ganglion.doctor.words import SHORTEST, in_options  # noqa: PLC0415

    operator = place.operator
    for path in operator.paths:
        options = {
            name: value
            for name, value in operator.options.items()
            if operator.sources[name] == path
        }
        secrets = [text for text in in_options(options) if len(text) >= SHORTEST]
        try:
            mode = Path(path).stat().st_mode
        except OSError:
            continue
        if secrets and mode & 0o004:
            chown = f"chown {place.account} {quote(path)} && " if place.account else ""
            yield Mode(
                path=path,
                problem=f"has mode {stat.S_IMODE(mode):04o} and holds a secret",
                means="other accounts of this machine can read it",
                level="notice",
                repair=f"{chown}chmod o= {quote(path)}",
            )


def judge_modes(found: tuple[tuple[Mode, ...], int]) -> Iterator[Finding]:
    """Judge owners and modes."""
    wrong, number = found
    for item in wrong:
        make = bad if item.level == "bad" else notice
        yield make(f"{item.path} {item.problem}", item.means, item.repair)
    if not wrong:
        yield good(f"{number} files and directories with secrets are their owner's alone")


CHECKS = (
    Check(
        name="media-store",
        about="whether Synapse's account can write to the media store",
        observe=observe_store,
        judge=judge_store,
    ),
    Check(
        name="disk",
        about="room on the disks, and the days until they are full at the growth of the last week",
        observe=observe_disk,
        judge=judge_disk,
    ),
    Check(
        name="file-modes",
        about="owners and modes of secrets, keys, the database's directory and files with secrets",
        observe=observe_modes,
        judge=judge_modes,
    ),
)
