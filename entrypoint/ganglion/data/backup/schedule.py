"""Scheduled backups: when the next is due, which are kept, and the process that makes them.

The names of the files have a number that only grows, so a clock that jumps deletes nothing.
"""

import contextlib
import datetime as dt
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ganglion.data.backup import target, verify
from ganglion.data.backup.archive import Damaged
from ganglion.data.backup.contents import Contents
from ganglion.data.backup.make import make
from ganglion.errors import ConfigError, Problem, reason
from ganglion.files.write import write_file
from ganglion.programs.postgres.client import Client, Failed
from ganglion.settings.reading import LARGEST_FILE, parse_json, read_text
from ganglion.settings.variables import Settings

NAME = re.compile(r"ganglion-(\d{6,12})-\d{8}T\d{6}Z\.tar", re.ASCII)
# In seconds. A server that starts has better things to do; a backup that failed is tried again.
AFTER_START, RETRY = 60.0, 600.0
# How long a backup may take, or one period if that is longer: a dump that hangs keeps the database
# from removing old rows.
LONGEST = 86400.0
RUNNING, WAITING, FAILED = "RUNNING", "WAITING", "FAILED"
PUBLIC = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A scheduled backup that is there. `created` is in seconds since 1970, by its own words."""

    number: int
    path: Path
    created: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How the last scheduled backup went. `at` is in seconds since 1970, `text` for operators."""

    state: str
    at: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that a scheduled backup needs."""

    contents: Contents
    server_name: str
    client: Callable[[], Client]

    @property
    def settings(self) -> Settings:
        """The server's settings."""
        return self.contents.settings

    @property
    def directory(self) -> Path:
        """Where the backups go."""
        return Path(self.settings.backup_directory or "")


def check(settings: Settings) -> None:
    """Raise ConfigError if backups are asked for that cannot be made."""
    if settings.backup_directory is None:
        return
    path = Path(settings.backup_directory)
    message = hint = ""
    if settings.sqlite is not None:
        message = "is set, and an SQLite database cannot be backed up"
        hint = f"unset GANGLION_BACKUP, and copy {settings.data} while the server is stopped"
    elif path.exists() and not path.is_dir():
        message, hint = "is not a directory", "name a directory, or a path at which one can be made"
    elif path.exists() and not os.access(path, os.W_OK | os.X_OK):
        message = f"cannot be written by UID {os.geteuid()}"
        hint = f"chown {os.geteuid()} {path}, or name another directory"
    if message:
        raise ConfigError(
            [Problem(variable="GANGLION_BACKUP", value=str(path), message=message, hint=hint)]
        )


def made_before(directory: Path, server_name: str) -> list[Kept]:
    """Return the scheduled backups of this server, oldest first. Others are left out."""
    found = []
    for number, path in _named(directory, NAME):
        with contextlib.suppress(OSError, Damaged, ConfigError):
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            with verify.opened(path) as file:
                summary = verify.first_summary(file)
            if summary.scheduled and summary.server_name == server_name:
                found.append(Kept(number=number, path=path, created=summary.created))
    return sorted(found, key=lambda kept: kept.number)


def _named(directory: Path, pattern: re.Pattern[str]) -> Iterator[tuple[int, Path]]:
    for path in directory.iterdir():
        if match := pattern.fullmatch(path.name):
            yield int(match[1]), path


def surplus(kept: Iterable[Kept], keep: int) -> list[Kept]:
    """Return the backups to delete: all but the `keep` newest, at least one, by their numbers."""
    return sorted(kept, key=lambda item: item.number)[: -max(1, keep)]


def wait(every: float, last: Kept | None, now: float) -> float:
    """Return the seconds until the next backup is due, for a server that has just started.

    A clock that was wrong makes it at most one period.
    """
    due = 0.0 if last is None else last.created + every - now
    return min(max(due, AFTER_START), every)


def first_wait(job: Job) -> float:
    """Return the seconds until the first backup of a server that has just started."""
    try:
        before = made_before(job.directory, job.server_name)
    except OSError:
        before = []
    return wait(job.settings.backup_every, before[-1] if before else None, time.time())


def longest(settings: Settings) -> float:
    """Return how many seconds a backup may take."""
    return max(LONGEST, settings.backup_every)


def retry(settings: Settings) -> float:
    """Return the seconds between a backup that failed and the next."""
    return min(settings.backup_every, RETRY)


def run(job: Job, tell: Callable[[str], None]) -> None:
    """Make one backup, and tell the supervisor how it went. It blocks: it needs its own process."""
    settings = job.settings
    os.nice(19)
    keep_state(settings, State(state=RUNNING, at=int(time.time()), text=""))
    state = attempt(job)
    keep_state(settings, state)
    has_failed = state.state == FAILED
    verb = "log the scheduled backup failed" if has_failed else "info backed up"
    tell(f"{verb}: {state.text}")
    tell(f"pause {retry(settings) if has_failed else settings.backup_every}")


def failed(settings: Settings, text: str) -> None:
    """Record a backup whose process has ended without a word. Never fails."""
    with contextlib.suppress(OSError):
        keep_state(settings, State(state=FAILED, at=int(time.time()), text=text))


def attempt(job: Job) -> State:
    """Make one backup, check it, and delete those that are too old by then."""
    began = time.monotonic()
    try:
        path, size = _make(job)
        deleted = surplus(made_before(job.directory, job.server_name), job.settings.backup_keep)
        for kept in deleted:
            kept.path.unlink(missing_ok=True)
    except (ConfigError, Failed, OSError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, OSError):
            text = f"{error.filename or job.directory}: {reason(error)}"
        return State(state=FAILED, at=int(time.time()), text=text)
    took = time.monotonic() - began
    text = f"{path}, {size / 1024**2:.1f} MB in {took:.0f} s"
    return State(state=WAITING, at=int(time.time()), text=text)


def _make(job: Job) -> tuple[Path, int]:
    """Write a backup and read it again. Returns its path and its size in bytes."""
    job.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_stale_parts(job.directory)
    numbers = [number for number, _ in _named(job.directory, NAME)]
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    path = job.directory / f"ganglion-{max(numbers, default=0) + 1:06}-{stamp}.tar"
    with target.written(path) as sink:
        made = make(
            sink,
            job.contents,
            job.client(),
            lambda _part, _done: None,
            scheduled=True,
            scratch=job.directory,
        )
    try:
        with verify.opened(path) as file:
            verify.verify(path, file, lambda _part, _done: None)
    except ConfigError:
        # It must not make a good one superfluous.
        path.unlink()
        raise
    return path, made.size


def remove_stale_parts(directory: Path) -> None:
    """Remove what scheduled backups that were killed left. One that is being written is locked."""
    pattern = re.compile(NAME.pattern + re.escape(target.PART), re.ASCII)
    for _, path in _named(directory, pattern):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def keep_state(settings: Settings, state: State) -> None:
    """Write how the last backup went, for `ganglion status`."""
    text = json.dumps(asdict(state)) + "\n"
    write_file(Path(settings.paths.backup_state), text, PUBLIC, None, lasting=False)


def read_state(settings: Settings) -> State | None:
    """Return how the last backup of this start went; None before the first."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return State(**parse_json(read_text(settings.paths.backup_state, LARGEST_FILE)))
    return None
