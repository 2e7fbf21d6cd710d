"""The files of a server that a backup holds, in the order of the archive."""

import contextlib
import heapq
import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from ganglion.data.backup import manifest
from ganglion.data.file_access import NamedPath, Use, paths_of
from ganglion.data.identity import server_name
from ganglion.machine.acting import acting_as
from ganglion.machine.unix_accounts import numbers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.secrets import GENERATED
from ganglion.settings.variables import Settings

Note = Callable[[str], None]

# Copies of media of other servers, and previews of URLs: Synapse fetches them again.
REMOTE = frozenset({"remote_content", "remote_thumbnail", "url_cache", "url_cache_thumbnails"})
# The stores of an external server are not this server's secrets, and the embedded ones get new
# passwords.
NOT_OURS = ("postgres_password", "redis_password")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO must not block it.
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
# How each archive begins.
ARCHIVE = manifest.SUMMARY.encode() + b"\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file: its path in the archive, its size in bytes, and an open descriptor or its text."""

    path: str
    size: int
    descriptor: int = -1
    text: bytes = b""
    mode: int = 0o600
    owner: str = ""
    folders: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The files to read. `account` is Synapse's, if this process is root. `note` gets remarks."""

    settings: Settings
    operator: OperatorFiles
    account: str | None
    remote_media: bool
    note: Note

    @property
    def media(self) -> Path:
        """The media store in force."""
        return media_store(self.settings, self.operator)

    def files(self) -> Generator[Found]:
        """Yield every file but the database, each open until the next one.

        Raises OSError for a directory or file of the data directory that cannot be read.
        """
        yield from _closing(self._data())
        yield from _closing(self._outside())
        with acting_as(self.account):
            yield from _closing(self._media())

    def size(self) -> int:
        """Return how many bytes all of them have, without reading them."""
        return sum(found.size for found in self.files())

    def _data(self) -> Generator[Found]:
        given = {found.path: found for found in self._given()}
        kept = (found for found in self._kept() if found.path not in given or _drop(found))
        yield from heapq.merge(kept, given.values(), key=lambda found: manifest.order(found.path))

    def _kept(self) -> Iterator[Found]:
        without = set()
        for path in (self.media, Path(self.settings.run)):
            with contextlib.suppress(OSError):
                without.add(_identity(path.stat()))
        top = os.open(self.settings.data, DIRECTORY & ~os.O_NOFOLLOW)
        walk = _Walk(self, manifest.DATA, frozenset(without))
        yield from walk.below(top, PurePath(manifest.DATA), ())

    def _given(self) -> Iterator[Found]:
        """Yield secrets that variables give, as files from which a start would take them."""
        wanted = [name for name in GENERATED if name not in NOT_OURS]
        places = {f"secrets/{name}": getattr(self.settings, name) for name in wanted}
        options = self.operator.options
        if not {"signing_key", "signing_key_path"} & options.keys():
            path = self.settings.paths.signing_key(server_name(self.settings, self.operator))
            places[Path(path).name] = self.settings.signing_key
        for place, value in sorted(places.items()):
            if value is not None:
                text = f"{value}\n".encode()
                folders = "700" if "/" in place else ""
                yield Found(
                    path=f"{manifest.DATA}/{place}", size=len(text), text=text, folders=folders
                )

    def _outside(self) -> Generator[Found]:
        """Yield the operator's files that are not in the data directory, by their full paths."""
        settings, operator = self.settings, self.operator
        ours = [*operator.paths, *operator.all_registrations]
        ours += [
            path for path in (settings.routes_file, settings.tls_cert, settings.tls_key) if path
        ]
        named: dict[Path, str | None] = {_absolute(path): None for path in ours}
        directories: list[Path] = []
        for item in paths_of(operator):
            path = _absolute(item.path)
            if item.use in (Use.READ_FILE, Use.MADE_FILE):
                named.setdefault(path, self.account)
            elif item.use is Use.READ_DIRECTORY:
                directories.append(path)
            elif path != self.media:
                self._note_store(item)
        for directory in directories:
            with acting_as(self.account):
                files = [path for path in directory.rglob("*") if path.is_file()]
            named.update((path, self.account) for path in files if path not in named)
        for path in sorted(named, key=lambda path: os.fsencode(path).split(b"/")):
            if not path.is_relative_to(settings.data) or _through_link(path, settings.data):
                yield from self._one_outside(path, named[path])

    def _one_outside(self, path: Path, account: str | None) -> Iterator[Found]:
        try:
            with acting_as(account):
                descriptor = os.open(path, FILE)
        except FileNotFoundError:
            return
        except OSError as error:
            self.note(f"{path} is not in the backup: {error.strerror}")
            return
        found = self.found(f"{manifest.OUTSIDE}{path}", descriptor)
        if found is not None:
            yield found

    def _note_store(self, item: NamedPath) -> None:
        if Path(item.path).is_dir():
            self.note(f"{item.path} of {item.option} is not in the backup: copy it on its own")

    def _media(self) -> Generator[Found]:
        try:
            top = os.open(self.media, DIRECTORY & ~os.O_NOFOLLOW)
        except FileNotFoundError:
            self.note(f"there is no media store at {self.media}")
            return
        walk = _Walk(self, manifest.MEDIA, frozenset())
        yield from walk.below(top, PurePath(manifest.MEDIA), ())

    def found(self, path: str, descriptor: int, folders: str = "") -> Found | None:
        """Describe an open file. Closes it and returns None if it is not a regular one."""
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            self.note(f"{path} is not in the backup: it is not a regular file")
            os.close(descriptor)
            return None
        return Found(
            path=path,
            size=state.st_size,
            descriptor=descriptor,
            mode=state.st_mode & 0o777,
            owner=self.owner(state),
            folders=folders,
        )

    def owner(self, state: os.stat_result) -> str:
        """Return whether Synapse's account owns a file, if that account is not this process's."""
        ours = self.account is not None and state.st_uid == numbers(self.account)[0]
        return manifest.SYNAPSE if ours else ""


def media_store(settings: Settings, operator: OperatorFiles) -> Path:
    """Return the media store in force."""
    named = operator.options.get("media_store_path") or settings.paths.media_store
    return Path(os.path.normpath(Path(settings.data, str(named))))


class _Walk:
    """A walk through a directory by descriptors: nobody can lead it elsewhere meanwhile."""

    def __init__(
        self, contents: Contents, section: str, without: frozenset[tuple[int, int]]
    ) -> None:
        self._contents = contents
        self._section = section
        self._without = without

    def below(self, directory: int, path: PurePath, above: tuple[str, ...]) -> Iterator[Found]:
        """Yield the files of an open directory, and close it."""
        try:
            state = os.fstat(directory)
            folders = "" if not above or set(above) == {"755"} else "/".join(above)
            for name in sorted(os.listdir(directory), key=os.fsencode):
                if self._is_left_out(path, name):
                    continue
                yield from self._entry(directory, state, path / name, above, folders)
        finally:
            os.close(directory)

    def _is_left_out(self, path: PurePath, name: str) -> bool:
        is_top = len(path.parts) == 1
        if self._section == manifest.MEDIA:
            return is_top and not self._contents.remote_media and name in REMOTE
        parts = [*path.parts[1:], name]
        return (is_top and not manifest.is_kept(name)) or parts == manifest.IN_FORCE

    def _entry(
        self,
        directory: int,
        state: os.stat_result,
        path: PurePath,
        above: tuple[str, ...],
        folders: str,
    ) -> Iterator[Found]:
        contents = self._contents
        try:
            found = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
            follow = os.O_NOFOLLOW
            if stat.S_ISLNK(found.st_mode) and _is_trusted(state):
                follow = 0
                found = os.stat(path.name, dir_fd=directory)
            is_directory = stat.S_ISDIR(found.st_mode) and follow
            if not is_directory and not stat.S_ISREG(found.st_mode):
                contents.note(f"{path} is not in the backup: it is not a regular file")
                return
            flags = DIRECTORY if is_directory else FILE | follow
            descriptor = os.open(path.name, flags, dir_fd=directory)
        except FileNotFoundError:
            # Deleted in between, or a link that leads nowhere.
            contents.note(f"{path} has vanished")
            return
        except OSError as error:
            error.filename = str(path)
            raise
        if is_directory:
            yield from self._directory(descriptor, path, above)
            return
        item = contents.found(str(path), descriptor, folders)
        if item is None:
            return
        if self._section == manifest.DATA and os.pread(descriptor, len(ARCHIVE), 0) == ARCHIVE:
            contents.note(f"{path} is not in the backup: it is a backup itself")
            os.close(descriptor)
            return
        yield item

    def _directory(
        self, descriptor: int, path: PurePath, above: tuple[str, ...]
    ) -> Iterator[Found]:
        state = os.fstat(descriptor)
        if _identity(state) in self._without:
            os.close(descriptor)
            return
        folder = f"{state.st_mode & 0o777:03o}{self._contents.owner(state)}"
        # The directories of the media store are all alike.
        below = () if self._section == manifest.MEDIA else (*above, folder)
        yield from self.below(descriptor, path, below)


def _is_trusted(directory: os.stat_result) -> bool:
    """Return whether no account but ours, or root, can put a link into a directory."""
    if os.geteuid() != 0:
        return True
    return directory.st_uid == 0 and not directory.st_mode & 0o022


def _through_link(path: Path, data: str) -> bool:
    """Return whether a directory on the way to a file in `data` is a link: no walk goes there."""
    between = [parent for parent in path.parents if parent.is_relative_to(data)]
    return any(parent.is_symlink() for parent in between if parent != Path(data))


def _absolute(path: str) -> Path:
    return Path(os.path.normpath(Path(path).absolute()))


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _drop(found: Found) -> bool:
    """Close a file that is not wanted. False."""
    _close(found)
    return False


def _close(found: Found) -> None:
    if found.descriptor >= 0:
        os.close(found.descriptor)


def _closing(files: Generator[Found]) -> Iterator[Found]:
    """Close each file after its use."""
    with contextlib.closing(files) as opened:
        for found in opened:
            try:
                yield found
            finally:
                _close(found)
