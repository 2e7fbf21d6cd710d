"""The check of backups: late, failed, or left unfinished."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from ganglion.data.backup import target
from ganglion.data.backup.schedule import FAILED, NAME, read_state
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable

# In seconds. A backup that is being written is touched more often.
STALE = 24 * 3600.0
# Of the period: a backup takes a while, and a failed one is tried again.
LATE = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Backups:
    """The scheduled backups. Ages are in seconds.

    `restoring` is the stage of a restore that has not ended. `parts` are files that a backup left
    behind when it was killed. `newest` is the age of the newest backup, None without any.
    """

    restoring: str | None
    directory: str | None
    every: float = 0.0
    newest: float | None = None
    parts: tuple[str, ...] = ()
    failure: str | None = None
    unreadable: str | None = None


def observe(place: Place) -> Backups:
    """Look at the names and times of files, and at the result of the last backup."""
    settings = place.settings
    stage = Path(settings.paths.restoring)
    restoring = str(stage) if stage.exists() else None
    if settings.backup_directory is None:
        if restoring is None:
            raise Unavailable("no scheduled backups are set (GANGLION_BACKUP)")
        return Backups(restoring=restoring, directory=None)
    directory = Path(settings.backup_directory)
    found = Backups(restoring=restoring, directory=str(directory), every=settings.backup_every)
    now = place.now.timestamp()
    ages: list[float] = []
    parts: list[str] = []
    try:
        for entry in os.scandir(directory):
            age = now - entry.stat(follow_symlinks=False).st_mtime
            if NAME.fullmatch(entry.name):
                ages.append(age)
            elif entry.name.endswith(target.PART) and age > STALE:
                parts.append(entry.path)
    except FileNotFoundError:
        pass
    except OSError as error:
        return replace(found, unreadable=error.strerror)
    state = read_state(settings)
    return replace(
        found,
        newest=min(ages, default=None),
        parts=tuple(sorted(parts)),
        failure=state.text if state is not None and state.state == FAILED else None,
    )


def judge(found: Backups) -> Iterator[Finding]:
    """Judge the backups."""
    if found.restoring is not None:
        yield bad(
            f"a restore has not ended: {found.restoring}",
            "no server starts on these data",
            "ganglion restore FILE    # the same command again: it goes on, or begins anew",
        )
    if found.directory is None:
        return
    lost = "everything since the last good one would be lost with the disk"
    by_hand = f"ganglion backup {quote(found.directory)}/by-hand.tar    # one now"
    faults = found.restoring is not None
    if found.unreadable is not None:
        faults = True
        yield bad(
            f"{found.directory} cannot be read: {found.unreadable}",
            "scheduled backups fail",
            f"ls -ld {quote(found.directory)}    # mount it, or correct its owner",
        )
    elif found.failure is not None:
        faults = True
        yield bad(f"the last scheduled backup failed: {found.failure}", lost, by_hand)
    elif found.newest is None or found.newest > LATE * found.every:
        faults = True
        hours = 0 if found.newest is None else found.newest / 3600
        age = "there is none" if found.newest is None else f"the newest is {hours:.0f} h old"
        yield notice(
            f"no scheduled backup within {LATE * found.every / 3600:.0f} h in {found.directory}:"
            f" {age}",
            lost,
            by_hand,
            "ganglion status    # the row `backup` says when the next one is due",
        )
    for path in found.parts:
        faults = True
        yield notice(
            f"{path} is a backup that was killed",
            "it takes room and cannot be restored",
            f"rm {quote(path)}",
        )
    if not faults:
        hours = (found.newest or 0) / 3600
        yield good(f"the newest backup in {found.directory} is {hours:.0f} h old")


CHECKS = (
    Check(
        name="backups",
        about="scheduled backups that are late or failed, and backups and restores that were left"
        " unfinished",
        observe=observe,
        judge=judge,
    ),
)
