"""Make a backup of a server: its database as of one moment, then its files."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from ganglion import __version__
from ganglion.data.backup import archive, manifest
from ganglion.data.backup.contents import Contents, Found
from ganglion.data.backup.manifest import Entry, Summary
from ganglion.data.backup.target import Sink
from ganglion.data.identity import server_name
from ganglion.programs.postgres import dump
from ganglion.programs.postgres.client import Client, Failed
from ganglion.programs.postgres.dump import Facts

# Gets the part that is being written, and how many bytes are written.
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A backup that is whole: bytes and files in it, and the SHA-256 of its listing."""

    size: int
    files: int
    sha256: str


def summary_of(contents: Contents, found: Facts, *, pg_dump: int, scheduled: bool) -> Summary:
    """Describe the backup of a server, in the manifest's terms."""
    settings = contents.settings
    media = contents.media
    if media.is_relative_to(settings.data):
        media = media.relative_to(settings.data)
    return Summary(
        server_name=server_name(settings, contents.operator),
        created=int(time.time()),
        ganglion=__version__,
        synapse=version("matrix-synapse"),
        schema=found.schema,
        compatible=found.compatible,
        postgres=found.postgres,
        dump=pg_dump,
        database_size=found.size,
        kind="embedded" if settings.embedded_postgres else "external",
        name=settings.postgres_db,
        role=settings.postgres_user,
        data=settings.data,
        media=str(media),
        test_mode=settings.test_mode,
        remote_media=contents.remote_media,
        scheduled=scheduled,
    )


def make(
    sink: Sink,
    contents: Contents,
    client: Client,
    progress: Progress,
    *,
    scheduled: bool,
    scratch: Path | None = None,
) -> Made:
    """Write a backup. `client` is that of the running database.

    The listing, of up to 200 bytes for each file, is in the directory `scratch` meanwhile, or in
    that of temporary files, which may be in memory.

    Raises client.Failed if the database or a file cannot be read, and OSError.
    """
    found = dump.facts(client)
    summary = summary_of(contents, found, pg_dump=client.version(), scheduled=scheduled)
    with tempfile.TemporaryFile(dir=scratch) as listing:
        writer = Writer(sink, listing, summary.created)
        writer.text(manifest.SUMMARY, summary.text().encode())
        # The snapshot of the database comes first: a file of the media store that the database does
        # not know does no harm.
        dumping = dump.start(client, found)
        with dumping:
            for number, piece in enumerate(dumping.pieces(dump.PIECE)):
                writer.text(f"{manifest.DATABASE}/{number:06}", piece)
                progress(manifest.DATABASE, writer.written)
        with contextlib.closing(contents.files()) as files:
            for item in files:
                if not writer.add(item):
                    contents.note(f"{item.path} became shorter while it was read")
                progress(item.path.partition("/")[0], writer.written)
        return writer.finish()


class Writer:
    """Writes members, and the listing of them."""

    def __init__(self, sink: Sink, listing: BinaryIO, time: int) -> None:
        self.written = 0
        self._sink = sink
        self._listing = listing
        self._time = time
        self._files = 0
        self._long = 0

    def text(self, path: str, text: bytes) -> None:
        """Write a file that is no file yet."""
        self.add(Found(path=path, size=len(text), text=text))

    def add(self, item: Found) -> bool:
        """Write one file. Returns False if it was shorter than it had been."""
        member = item.path
        if not archive.fits(member):
            self._long += 1
            member = f"{manifest.LONG}/{self._long:06}"
        pieces = _read(item) if item.descriptor >= 0 else [item.text]
        digest, missing = self._member(member, item.size, pieces)
        entry = Entry(
            member=member,
            path=item.path,
            size=item.size,
            sha256=digest,
            mode=item.mode,
            owner=item.owner,
            cut=missing > 0,
            folders=item.folders,
        )
        self._listing.write(entry.line())
        self._files += 1
        return missing == 0

    def finish(self) -> Made:
        """Write the listing, its SHA-256 and the end."""
        size = self._listing.tell()
        self._listing.seek(0)
        lines = iter(lambda: self._listing.read(archive.CHUNK), b"")
        digest, _ = self._member(manifest.LISTING, size, lines)
        line = f"{digest}  {manifest.LISTING}\n".encode()
        self._member(manifest.SUM, len(line), [line])
        self._put(archive.END)
        return Made(size=self.written, files=self._files, sha256=digest)

    def _member(self, name: str, size: int, pieces: Iterable[bytes]) -> tuple[str, int]:
        """Return the SHA-256, and how many bytes were missing and are zeros."""
        self._put(archive.header(name, size, self._time))
        digest, left = hashlib.sha256(), size
        for piece in pieces:
            digest.update(piece)
            self._put(piece)
            left -= len(piece)
        missing = left
        while left:
            zeros = bytes(min(left, archive.CHUNK))
            digest.update(zeros)
            self._put(zeros)
            left -= len(zeros)
        self._put(bytes(archive.padding(size)))
        return digest.hexdigest(), missing

    def _put(self, data: bytes) -> None:
        if data:
            self._sink.write(data)
            self.written += len(data)


def _read(item: Found) -> Iterator[bytes]:
    """Read at most the size of a file: one that grows meanwhile is read as it was."""
    at = 0
    while at < item.size:
        try:
            piece = os.pread(item.descriptor, min(archive.CHUNK, item.size - at), at)
        except OSError as error:
            raise Failed(f"{item.path} cannot be read: {error.strerror}") from error
        if not piece:
            return
        at += len(piece)
        yield piece
