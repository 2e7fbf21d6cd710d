"""Archives of backups for tests: whole ones, and ones that lie."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganglion.data.backup import archive, manifest
from ganglion.data.backup.manifest import Entry, Summary
from ganglion.data.backup.verify import Verified, opened, verify

SUMMARY = Summary(
    server_name="example.org",
    created=1_700_000_000,
    ganglion="0.1.0",
    synapse="1.163.2",
    schema=94,
    compatible=89,
    postgres=15,
    dump=15,
    database_size=8_000_000,
    kind="embedded",
    name="synapse",
    role="synapse",
    data="/data",
    media="media_store",
    test_mode=False,
    remote_media=False,
    scheduled=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member and its line. `entry` replaces the line that it should have; b"" leaves it out."""

    path: str
    content: bytes = b"content"
    line: bytes | None = None

    def header(self) -> bytes:
        return archive.header(self.path, len(self.content), SUMMARY.created)

    def entry(self) -> Entry:
        digest = hashlib.sha256(self.content).hexdigest()
        return Entry(member=self.path, path=self.path, size=len(self.content), sha256=digest)

    def listed(self, **changes: object) -> "Member":
        """Return the member with a line that says something else."""
        return replace(self, line=replace(self.entry(), **changes).line())  # type: ignore[arg-type]


MEMBERS = (
    Member(path="database/000000", content=b"PGDMP" * 300),
    Member(path="data/homeserver.yaml"),
    Member(path="data/secrets/form_secret"),
    Member(path="outside/etc/tls.key"),
    Member(path="media/local_content/aa/bb/cccc", content=b"\0\1" * 700),
)


def block(header: bytes, content: bytes) -> bytes:
    return header + content + bytes(archive.padding(len(content)))


def build(
    members: Sequence[Member] = MEMBERS,
    summary: Summary | bytes = SUMMARY,
    more_lines: Iterable[bytes] = (),
    checksum: str | None = None,
) -> bytes:
    """Return an archive."""
    text = summary if isinstance(summary, bytes) else summary.text().encode()
    all_members = [Member(path=manifest.SUMMARY, content=text), *members]
    lines = [
        member.entry().line() if member.line is None else member.line for member in all_members
    ]
    listing = b"".join([*lines, *more_lines])
    digest = checksum or hashlib.sha256(listing).hexdigest()
    ends = [
        Member(path=manifest.LISTING, content=listing),
        Member(path=manifest.SUM, content=f"{digest}  {manifest.LISTING}\n".encode()),
    ]
    blocks = [block(member.header(), member.content) for member in [*all_members, *ends]]
    return b"".join(blocks) + archive.END


def verified(path: Path) -> Verified:
    """Verify an archive. Raises ConfigError."""
    with opened(path) as file:
        return verify(path, file, lambda _part, _done: None)


def with_header(path: str, header: bytes, content: bytes = b"content") -> bytes:
    """Return a whole archive with the header of one member replaced."""
    member = Member(path=path, content=content)
    text = build([*MEMBERS[:1], member, *MEMBERS[3:]])
    assert text.count(member.header()) == 1
    return text.replace(member.header(), header)


def resummed(header: bytes) -> bytes:
    """Return a header with the checksum that it should have."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]
