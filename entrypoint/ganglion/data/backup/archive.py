"""The archive of a backup: an uncompressed tar file (POSIX ustar) in one strict form.

tar(1) can list and extract it. The reader accepts only headers that are byte for byte those of the
writer, so an archive holds regular files alone: a link, a device or a sparse file is refused.

https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

BLOCK = 512
END = bytes(2 * BLOCK)
# In bytes. The parts of a header: name, prefix, and the largest size in octal digits.
NAME, PREFIX, OCTAL = 100, 155, 8**11
# Above it, tar's other way of writing a number is not needed: no disk is as large.
LARGEST = 1 << 62
CHUNK = 1024**2
MODE = 0o600
KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a directory",
    b"6": "a FIFO",
    b"S": "a sparse file",
    b"x": "a pax header",
    b"g": "a pax header",
    b"L": "a GNU header",
    b"K": "a GNU header",
}


class Damaged(Exception):
    """The archive is not one that a backup writes."""


class Hashed(Protocol):
    """A hash of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Add data."""

    def hexdigest(self) -> str:
        """Return the hash of all data so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One member: its name, its size in bytes, and where its content begins in the file."""

    name: str
    size: int
    offset: int


def fits(name: str) -> bool:
    """Return whether a header can hold a name."""
    return _split(os.fsencode(name)) is not None


def header(name: str, size: int, time: int) -> bytes:
    """Return the block in front of a member. `time` is in seconds since 1970.

    Raises ValueError for a name that is too long.
    """
    parts = _split(os.fsencode(name))
    if parts is None:
        raise ValueError(f"{name!r} is too long")
    prefix, rest = parts
    block = b"".join(
        (
            rest.ljust(NAME, b"\0"),
            b"%07o\0" % MODE,
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            _number(size),
            _number(time),
            b" " * 8,
            b"0",
            bytes(NAME),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            prefix.ljust(PREFIX, b"\0"),
            bytes(12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Divide a name into prefix and rest, the prefix as long as possible."""
    if len(name) <= NAME:
        return b"", name
    cut = name.rfind(b"/", 0, PREFIX + 1)
    if cut < 1 or not 0 < len(name) - cut - 1 <= NAME:
        return None
    return name[:cut], name[cut + 1 :]


def _number(value: int) -> bytes:
    """Write a number in octal, or in base 256 if it has too many digits: the form of GNU tar."""
    if value < OCTAL:
        return b"%011o\0" % value
    return b"\x80" + value.to_bytes(11)


def _value(field: bytes) -> int:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:])
    return int(field[:-1], 8)


def padding(size: int) -> int:
    """Return how many bytes follow a content of `size` bytes, up to the next block."""
    return -size % BLOCK


def scan(file: BinaryIO, size: int) -> Iterator[Header]:
    """Yield every member of an archive of `size` bytes, without reading the contents.

    Raises Damaged for anything that a backup does not write.
    """
    at = 0
    while True:
        file.seek(at)
        block = file.read(BLOCK)
        if block == bytes(BLOCK):
            break
        if len(block) < BLOCK:
            raise Damaged(f"it is cut off after {at} bytes" if at else "it is no archive of tar")
        found = _member(block, at)
        at = found.offset + found.size + padding(found.size)
        if at > size:
            raise Damaged(
                f"it is cut off: {found.name!r} has {found.size} bytes by its header, and the"
                f" archive ends {at - size} bytes before"
            )
        yield found
    if size - at != len(END):
        raise Damaged(f"{size - at} bytes follow its last member, not {len(END)}")
    if file.read(BLOCK) != bytes(BLOCK):
        raise Damaged("other bytes follow its last member")


def _member(block: bytes, at: int) -> Header:
    rest, prefix = block[:NAME].rstrip(b"\0"), block[345 : 345 + PREFIX].rstrip(b"\0")
    kind = block[156:157]
    name = os.fsdecode(prefix + b"/" + rest if prefix else rest)
    if block[257:263] == b"ustar\0" and kind in KINDS:
        raise Damaged(f"{name!r} is {KINDS[kind]}")
    try:
        size, time = _value(block[124:136]), _value(block[136:148])
    except ValueError:
        raise Damaged(f"there is no header of tar at byte {at}") from None
    if not 0 <= size < LARGEST or not 0 <= time < LARGEST:
        raise Damaged(f"{name!r} has an impossible size or time")
    if not rest or block != header(name, size, time):
        raise Damaged(f"the header at byte {at} is damaged, or not of a backup")
    return Header(name=name, size=size, offset=at + BLOCK)


def content(file: BinaryIO, member: Header, digest: Hashed) -> Iterator[bytes]:
    """Yield the content of a member in pieces, and add them to `digest`.

    Raises Damaged if the file ends before, or if the rest of its last block is not zeros.
    """
    at, end = member.offset, member.offset + member.size
    while at < end:
        file.seek(at)
        piece = file.read(min(CHUNK, end - at))
        if not piece:
            raise Damaged(f"it is cut off in {member.name!r}")
        digest.update(piece)
        at += len(piece)
        yield piece
    file.seek(end)
    if file.read(padding(member.size)).strip(b"\0"):
        raise Damaged(f"other bytes follow {member.name!r}")
