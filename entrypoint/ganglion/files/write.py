"""The one way that files and directories are written."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ganglion.files.disk import flush_entry
from ganglion.files.file import File
from ganglion.machine.unix_accounts import numbers


def write_directory(directory: Path, files: Iterable[File], accounts: dict[str, str]) -> None:
    """Replace the content of `directory` by `files`: all of them or none.

    They are written beside it and renamed, so a reader never finds half of them, nor a stale file
    of an earlier start. The old directory is removed, not renamed: overlayfs cannot rename a
    directory that came with the image.
    """
    staged = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    make_directory(staged, 0o755, None)
    for file in files:
        path = staged / file.path
        # One by one: whatever the umask, the accounts of all programs must be able to enter.
        for parent in reversed(PurePosixPath(file.path).parents[:-1]):
            make_directory(staged / parent, 0o755, None)
        write_file(path, file.content, file.mode, accounts.get(file.program), lasting=False)
    if directory.exists():
        shutil.rmtree(directory)
    staged.rename(directory)


def write_file(
    path: Path, content: str, mode: int, account: str | None, *, lasting: bool = True
) -> None:
    """Make one file with its mode and owner from its first byte on, replacing it at once.

    One that is `lasting` is on the disk when it takes its place. Raises OSError with the name of
    the file, as when the disk is full; nothing half-written is left then.
    """
    staged = path.with_name(f".{path.name}.new")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, mode)
            if account is not None:
                os.fchown(descriptor, *numbers(account))
            stream.write(content)
            stream.flush()
            if lasting:
                os.fsync(descriptor)
    except OSError as error:
        staged.unlink(missing_ok=True)
        error.filename = str(path)
        raise
    staged.rename(path)
    if lasting:
        flush_entry(path)


def make_directory(path: Path, mode: int, account: str | None, *, group: str | None = None) -> None:
    """Make a directory, with those above it, and give it its mode and owner.

    `group` is the account whose group it gets, instead of the owner's. Raises OSError if `path` is
    a link: another account could have put it there.
    """
    path.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        owner_id, group_id = (-1, -1) if account is None else numbers(account)
        if group is not None:
            group_id = numbers(group)[1]
        os.fchown(descriptor, owner_id, group_id)
        # After the owner, whose change clears bits of the mode.
        os.fchmod(descriptor, mode)
    except PermissionError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)
