"""Write the files of an archive to the stage of a restore."""

import os
from collections.abc import Iterator
from pathlib import Path

from ganglion.data.backup import manifest, restoring
from ganglion.data.backup.manifest import Entry
from ganglion.data.backup.restoring import Journal
from ganglion.data.paths import Paths
from ganglion.machine.unix_accounts import numbers

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MEDIA_MODE = 0o750


class Stage:
    """The stage. No other account can enter it, so nobody changes a path in it.

    `account` is Synapse's, if this process is root: it owns the media store, and the files that
    belonged to it.
    """

    def __init__(self, paths: Paths, journal: Journal, account: str | None) -> None:
        self._account = account
        tree, media = Path(paths.restoring, restoring.TREE), Path(journal.media_stage(paths))
        self._tops = {
            manifest.DATA: tree,
            manifest.OUTSIDE: tree / Path(paths.outside).name,
            manifest.MEDIA: media,
        }
        tree.mkdir(0o700)
        media.mkdir(0o700, parents=True)
        self._last = Path()

    def write(self, entry: Entry, pieces: Iterator[bytes]) -> None:
        """Write one file. Raises OSError with its name."""
        path = self._tops[entry.section] / entry.below
        self._directories(entry, path.parent)
        descriptor = os.open(path, NEW, 0o600)
        is_media = entry.section == manifest.MEDIA
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                self._own(descriptor, synapse=is_media or entry.owner == manifest.SYNAPSE)
                os.fchmod(descriptor, entry.mode)
        except OSError as error:
            error.filename = str(path)
            raise

    def _directories(self, entry: Entry, directory: Path) -> None:
        """Make the directories above a file, each with its mode and owner."""
        if directory == self._last:
            return
        top = self._tops[entry.section]
        if entry.section == manifest.OUTSIDE and not top.exists():
            top.mkdir(0o700)
        below = directory.relative_to(top).parts
        folders = entry.folders.split("/") if entry.folders else ["755"] * len(below)
        path = top
        for name, folder in zip(below, folders, strict=True):
            path /= name
            if path.is_dir():
                continue
            path.mkdir(0o700)
            is_media = entry.section == manifest.MEDIA
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                self._own(descriptor, synapse=is_media or folder.endswith(manifest.SYNAPSE))
                os.fchmod(descriptor, MEDIA_MODE if is_media else int(folder[:3], 8))
            finally:
                os.close(descriptor)
        self._last = directory

    def close(self) -> None:
        """Give the media store its mode and owner."""
        descriptor = os.open(self._tops[manifest.MEDIA], os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._own(descriptor, synapse=True)
        finally:
            os.close(descriptor)

    def _own(self, descriptor: int, *, synapse: bool) -> None:
        if self._account is not None:
            os.fchown(descriptor, *(numbers(self._account) if synapse else (0, 0)))
