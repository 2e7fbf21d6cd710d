"""Read a whole archive, and name everything that is wrong with it."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ganglion.data.backup import archive, manifest
from ganglion.data.backup.archive import Damaged, Header
from ganglion.data.backup.manifest import Entry, Summary
from ganglion.errors import ConfigError, Problem

# How many problems of one archive are listed; all are counted.
SHOWN = 20
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An archive that is whole: its summary, the bytes and files of its parts, its listing's hash.

    `database` is the size of the dump, and `files` and `media` those of everything else, in bytes.
    """

    summary: Summary
    size: int
    database: int
    files: int
    media: int
    members: int
    media_members: int
    cut: tuple[str, ...]
    sha256: str


def opened(path: Path) -> BinaryIO:
    """Open an archive. Raises ConfigError if it is not a file that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        hint = "give the path of a backup"
        raise _refused(path, [f"cannot be read: {error.strerror}"], hint) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        hint = "write the backup to a file first: it is read twice"
        raise _refused(path, ["is not a regular file"], hint)
    # Unbuffered: each header of a large file would fetch more than it needs.
    return os.fdopen(descriptor, "rb", buffering=0)


def verify(path: Path, file: BinaryIO, progress: Progress) -> Verified:
    """Check every byte of an archive. Raises ConfigError with all that is wrong."""
    wrong: list[str] = []
    found = None
    try:
        found = _verify(file, wrong, progress)
    except Damaged as error:
        wrong.append(str(error))
    except OSError as error:
        wrong.append(f"cannot be read: {error.strerror}")
    if wrong or found is None:
        hint = "use another backup; nothing was written"
        raise _refused(path, wrong, hint)
    return found


def _refused(path: Path, wrong: list[str], hint: str) -> ConfigError:
    more = len(wrong) - SHOWN
    lines = [*wrong[:SHOWN], *([f"and {more} more problems"] if more > 0 else [])]
    return ConfigError(
        [Problem(variable="FILE", value=str(path), message=line, hint=hint) for line in lines]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The members at both ends of an archive."""

    summary: Summary
    listing: Header
    sha256: str


def ends(file: BinaryIO) -> Ends:
    """Check all headers, and read the members at both ends. Raises Damaged and OSError."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise Damaged("it is empty")
    headers = archive.scan(file, size)
    first = next(headers, None)
    if first is None or first.name != manifest.SUMMARY:
        name = "nothing" if first is None else repr(first.name)
        raise Damaged(f"it begins with {name}, not with {manifest.SUMMARY}")
    listing = checksum = first
    for header in headers:
        listing, checksum = checksum, header
    if (listing.name, checksum.name) != (manifest.LISTING, manifest.SUM):
        raise Damaged(f"it does not end with {manifest.LISTING} and {manifest.SUM}")
    if first.size > manifest.LARGEST_SUMMARY or checksum.size > manifest.LARGEST_LINE:
        raise Damaged(f"{manifest.SUMMARY} or {manifest.SUM} is too large")
    summary = manifest.parse_summary(_whole(file, first))
    digest = hashlib.sha256()
    for _ in archive.content(file, listing, digest):
        pass
    if _whole(file, checksum) != f"{digest.hexdigest()}  {manifest.LISTING}\n".encode():
        raise Damaged(f"{manifest.LISTING} does not have the SHA-256 in {manifest.SUM}")
    return Ends(summary=summary, listing=listing, sha256=digest.hexdigest())


def first_summary(file: BinaryIO) -> Summary:
    """Read the first member alone. Raises Damaged and OSError."""
    header = next(archive.scan(file, os.fstat(file.fileno()).st_size), None)
    if header is None or header.name != manifest.SUMMARY:
        raise Damaged("it is no backup")
    if header.size > manifest.LARGEST_SUMMARY:
        raise Damaged(f"{manifest.SUMMARY} is too large")
    return manifest.parse_summary(_whole(file, header))


def _whole(file: BinaryIO, header: Header) -> bytes:
    return b"".join(archive.content(file, header, hashlib.sha256()))


def members(
    file: BinaryIO, listing: Header, wrong: list[str] | None = None
) -> Iterator[tuple[Header, Entry]]:
    """Yield each member with its line.

    Raises Damaged where they do not fit. Paths that no backup has are added to `wrong` and not
    yielded; without it, they raise Damaged too.
    """
    lines = _lines(file, listing)
    before: Entry | None = None
    for header in archive.scan(file, os.fstat(file.fileno()).st_size):
        if header.name == manifest.LISTING:
            break
        line = next(lines, None)
        if line is None:
            raise Damaged(f"{header.name!r} is not in {manifest.LISTING}")
        try:
            entry = manifest.parse_line(line)
            _check_place(entry, header, before)
        except Damaged as error:
            if wrong is None:
                raise
            wrong.append(str(error))
            continue
        before = entry
        yield header, entry
    if next(lines, None) is not None:
        raise Damaged(f"{manifest.LISTING} lists more than there is")


def _check_place(entry: Entry, header: Header, before: Entry | None) -> None:
    if (entry.member, entry.size) != (header.name, header.size):
        raise Damaged(
            f"{manifest.LISTING} has {entry.member!r} of {entry.size} bytes where the archive"
            f" has {header.name!r} of {header.size}"
        )
    if before is None:
        return
    if manifest.order(entry.path) <= manifest.order(before.path):
        raise Damaged(f"{entry.path!r} is there twice, or out of order")
    if entry.path.startswith(f"{before.path}/"):
        raise Damaged(f"{before.path!r} is a file, and a directory of {entry.path!r}")


def _lines(file: BinaryIO, listing: Header) -> Iterator[bytes]:
    rest = b""
    for piece in archive.content(file, listing, hashlib.sha256()):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > manifest.LARGEST_LINE:
            raise Damaged(
                f"{manifest.LISTING} has a line of more than {manifest.LARGEST_LINE} bytes"
            )
    if rest:
        raise Damaged(f"{manifest.LISTING} is cut off")


def _verify(file: BinaryIO, wrong: list[str], progress: Progress) -> Verified:
    found = ends(file)
    sizes = dict.fromkeys(manifest.SECTIONS, 0)
    counts = dict.fromkeys(manifest.SECTIONS, 0)
    cut: list[str] = []
    for header, entry in members(file, found.listing, wrong):
        digest = hashlib.sha256()
        try:
            for _ in archive.content(file, header, digest):
                pass
        except Damaged as error:
            wrong.append(str(error))
        if digest.hexdigest() != entry.sha256:
            wrong.append(f"{entry.path!r} does not have the SHA-256 of {manifest.LISTING}")
        if entry.cut and len(cut) < SHOWN:
            cut.append(entry.path)
        sizes[entry.section] += entry.size
        counts[entry.section] += 1
        progress(entry.section, header.offset + header.size)
    if not counts[manifest.DATABASE]:
        wrong.append("it holds no database")
    pieces = counts[manifest.DATABASE]
    names = [f"{manifest.DATABASE}/{number:06}" for number in (0, pieces - 1)]
    if pieces and not wrong and not _are_pieces(file, found.listing, pieces):
        wrong.append(f"the pieces of its database are not {names[0]} to {names[1]}")
    return Verified(
        summary=found.summary,
        size=os.fstat(file.fileno()).st_size,
        database=sizes[manifest.DATABASE],
        files=sizes[manifest.DATA] + sizes[manifest.OUTSIDE],
        media=sizes[manifest.MEDIA],
        members=sum(counts.values()),
        media_members=counts[manifest.MEDIA],
        cut=tuple(cut),
        sha256=found.sha256,
    )


def _are_pieces(file: BinaryIO, listing: Header, pieces: int) -> bool:
    expected = {f"{manifest.DATABASE}/{number:06}" for number in range(pieces)}
    for _, entry in members(file, listing):
        if entry.section == manifest.DATABASE:
            expected.discard(entry.path)
        elif entry.section != manifest.SUMMARY:
            break
    return not expected


def database(file: BinaryIO, listing: Header) -> Iterator[bytes]:
    """Yield the dump in pieces. Raises Damaged if one is not as the listing says."""
    for header, entry in members(file, listing):
        if entry.section == manifest.DATABASE:
            yield from checked(file, header, entry)
        elif entry.section != manifest.SUMMARY:
            return


def checked(file: BinaryIO, header: Header, entry: Entry) -> Iterator[bytes]:
    """Yield the content of a member. Raises Damaged if it is not as the listing says."""
    digest = hashlib.sha256()
    yield from archive.content(file, header, digest)
    if digest.hexdigest() != entry.sha256:
        raise Damaged(f"{entry.path!r} does not have the SHA-256 of {manifest.LISTING}")
