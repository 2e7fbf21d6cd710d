"""The owners of files in the data directory.

Root changes owners here, in directories that other accounts can write to. So it walks by
descriptors, never follows a link, and never leaves the data directory.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from ganglion.files.write import make_directory
from ganglion.machine.installed import Machine
from ganglion.machine.unix_accounts import numbers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings

Say = Callable[[str], None]

ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def take_over(settings: Settings, operator: OperatorFiles, machine: Machine, say: Say) -> None:
    """Chown files that another UID created, such as Synapse's own image, to Synapse's account.

    These are the files and directories that Synapse writes to, and option files that are not
    readable by everyone. The database goes to its server's account, as after a start with
    `docker run --user`. Files outside the data directory are left alone.
    """
    account = machine.account("synapse")
    if account is None:
        return
    options = operator.options
    named = [options.get(name) for name in ("media_store_path", "signing_key_path", "uploads_path")]
    paths = [Path(settings.data, path) for path in named if isinstance(path, str)]
    paths.append(Path(settings.paths.media_store))
    paths += [path for path in map(Path, operator.paths) if not path.stat().st_mode & 0o004]
    if settings.sqlite is not None:
        # SQLite writes its journal beside the file.
        paths.append(Path(settings.sqlite))
        place = Path(settings.sqlite).parent
        make_directory(place, place.stat().st_mode & 0o777 if place.exists() else 0o755, account)
    owners = [(path, account) for path in paths]
    postgres = machine.account("postgres")
    if postgres is not None:
        owners.append((Path(settings.paths.postgres), postgres))
    for path, owner in owners:
        if hand_over(Path(settings.data), path, owner):
            say(f"{path} belongs to {owner} from now on")


def hand_over(data: Path, path: Path, account: str) -> bool:
    """Chown a file, or a directory with its contents, to an account.

    Returns whether that was needed: a path that already belongs to the account is not walked. A
    path that does not exist, is not below `data` or is reached through a link is left alone.
    """
    try:
        inside = Path(os.path.normpath(path)).relative_to(data)
    except ValueError:
        return False
    owner, group = numbers(account)
    try:
        with _entered(data, inside.parent) as parent:
            found = os.stat(inside.name, dir_fd=parent, follow_symlinks=False)
            if found.st_uid == owner or stat.S_ISLNK(found.st_mode):
                return False
            if stat.S_ISDIR(found.st_mode):
                with _opened(inside.name, parent) as top:
                    _chown_tree(top, owner, group)
                return True
            return _chown(inside.name, parent, owner, group)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise


def _chown_tree(top: int, owner: int, group: int) -> None:
    os.fchown(top, owner, group)
    for _, directories, files, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        for name in (*directories, *files):
            _chown(name, descriptor, owner, group)


def _chown(name: str, parent: int, owner: int, group: int) -> bool:
    """Chown one entry of a directory. Returns False for a file that has several names.

    One of the names could be outside the data directory.
    """
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        return False
    os.chown(name, owner, group, dir_fd=parent, follow_symlinks=False)
    return True


@contextlib.contextmanager
def _entered(top: Path, below: PurePath) -> Iterator[int]:
    """A descriptor of the directory `below`, reached from `top` without following a link."""
    with contextlib.ExitStack() as opened:
        descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)
        for part in below.parts:
            descriptor = opened.enter_context(_opened(part, descriptor))
        yield descriptor


@contextlib.contextmanager
def _opened(name: str, parent: int) -> Iterator[int]:
    descriptor = os.open(name, ENTER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
