"""Write a new data directory: all of it or nothing, and only into an empty directory."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ganglion.errors import ConfigError, Problem
from ganglion.files.write import write_file
from ganglion.importing.layout import Copy, Layout
from ganglion.importing.looking import is_file, unreadable
from ganglion.machine.unix_accounts import numbers

STAGE = ".importing"
# Stages of imports that were killed: of the files, and of a move from SQLite.
LEFT = {STAGE, ".porting"}
# Left by the file system, by scripts/up and by the lock of a server that ran here.
NOTHING = frozenset({"lost+found", ".up", ".lock"})
# In bytes: left free on the disk, for logs and for the first start.
SPARE = 256 * 1024**2
OF_THE_KERNEL = ("/dev", "/proc", "/sys")
# In files: a line of progress after so many.
EVERY = 1000

Say = Callable[[str], None]


def check(directory: Path, layout: Layout, own: tuple[str, ...] = ()) -> None:
    """Raise ConfigError if the layout cannot be written there. Writes nothing.

    `own` are entries that this import has made.
    """
    problems = []
    if os.path.lexists(directory) and not directory.is_dir():
        raise ConfigError([_problem(directory, "is not a directory", "name a new directory")])
    try:
        if directory.exists():
            found = sorted({path.name for path in directory.iterdir()} - NOTHING - {*own})
            if LEFT & {*found}:
                hint = f"remove {directory}, and type it again"
                problems.append(_problem(directory, "holds an import that was cut off", hint))
            elif found:
                message = f"holds {found[0]} and {len(found) - 1} other entries"
                problems.append(_problem(directory, message, "name a new or an empty directory"))
        place = next(path for path in (directory, *directory.parents) if path.exists())
        free = shutil.disk_usage(place).free
    except OSError as error:
        message = f"cannot be used: {error.strerror}"
        raise ConfigError([_problem(directory, message, "name a directory")]) from error
    inside = [copy for copy in layout.copies if _contains(copy.source, directory)]
    if inside:
        message = f"is inside of {inside[0].source}, which is copied"
        problems.append(_problem(directory, message, "name a directory outside of it"))
    problems.extend(_unusable(layout))
    if problems:
        raise ConfigError(problems)
    needed = sum(size for copy in layout.copies for _, size in _files(copy)) + SPARE
    if needed > free:
        message = f"has {free // 1024**2} MB free, and {needed // 1024**2} MB are needed"
        raise ConfigError([_problem(directory, message, "make room, or name another disk")])


def _unusable(layout: Layout) -> Iterator[Problem]:
    """Yield the sources that no copy would end for."""
    for copy in layout.copies:
        real = copy.source.resolve()
        if any(real.is_relative_to(place) for place in OF_THE_KERNEL):
            yield _problem(copy.source, "is in a file system of the kernel", "correct the option")
        elif not copy.source.is_dir() and not is_file(copy.source):
            yield _problem(copy.source, "is not a regular file", "correct the option")


def described(layout: Layout, directory: Path) -> list[str]:
    """Return a line for each entry that is written."""
    lines = [f"{directory / file.path}" for file in layout.files]
    for copy in layout.copies:
        sizes = [size for _, size in _files(copy)]
        size = sum(sizes) / 1024**2
        lines.append(
            f"{directory / copy.target}  from {copy.source}, {len(sizes)} files, {size:.1f} MB"
        )
    return lines


def write(
    layout: Layout,
    directory: Path,
    say: Say,
    own: tuple[str, ...] = (),
    account: str | None = None,
) -> None:
    """Write everything beside its place, then move it there. Raises OSError and ConfigError.

    `account` owns it, None for our own. Nothing is left behind if it fails.
    """
    check(directory, layout, own)
    made = not directory.exists()
    stage = directory / STAGE
    directory.mkdir(parents=True, exist_ok=True)
    try:
        stage.mkdir(0o700)
        for copy in layout.copies:
            _copy(copy, stage / copy.target, say)
        for file in layout.files:
            path = stage / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, file.content, file.mode, None)
        if account is not None:
            _give(stage, account)
        for entry in sorted(stage.iterdir()):
            entry.rename(directory / entry.name)
        stage.rmdir()
    except BaseException:
        for path in (stage, *(directory / name for name in own)):
            shutil.rmtree(path, ignore_errors=True)
        if made:
            shutil.rmtree(directory, ignore_errors=True)
        raise


def _copy(copy: Copy, target: Path, say: Say) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not copy.source.is_dir():
        _regular(copy.source)
        shutil.copyfile(copy.source, target)
        target.chmod(0o600 if copy.secret else 0o640)
        return
    total, number = sum(1 for _ in _files(copy)), 0

    def one(source: str, place: str) -> str:
        nonlocal number
        _regular(Path(source))
        shutil.copy2(source, place)
        number += 1
        if number % EVERY == 0 or number == total:
            say(f"{copy.target}: {number} of {total} files")
        return place

    # A link could lead anywhere: it stays one.
    shutil.copytree(copy.source, target, symlinks=True, copy_function=one)


def _give(stage: Path, account: str) -> None:
    """Make an account the owner of everything. Links are not followed."""
    user, group = numbers(account)
    for place, _, names in os.walk(stage):
        os.chown(place, user, group)
        for name in names:
            os.chown(os.path.join(place, name), user, group, follow_symlinks=False)  # noqa: PTH118


def _regular(path: Path) -> None:
    """Raise ConfigError for a pipe, a socket or a device, which would block or never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ConfigError([_problem(path, "is not a regular file", "remove it")])


def _files(copy: Copy) -> Iterator[tuple[str, int]]:
    """Yield each file of a copy with its size in bytes."""
    path = str(copy.source)
    try:
        if not copy.source.is_dir():
            yield path, copy.source.stat().st_size
            return
        for place, _, names in os.walk(copy.source):
            for name in names:
                path = os.path.join(place, name)  # noqa: PTH118 - millions of them
                yield path, os.lstat(path).st_size
    except FileNotFoundError as error:
        raise unreadable(Path(path), error, "stop the old server, and import again") from error


def _contains(source: Path, directory: Path) -> bool:
    return source.is_dir() and directory.resolve().is_relative_to(source.resolve())


def _problem(where: Path, message: str, hint: str) -> Problem:
    return Problem(variable=str(where), value=None, message=message, hint=hint)
