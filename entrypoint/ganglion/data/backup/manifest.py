"""A backup's description of itself: a summary as its first member, a line for each other one.

The lines have the order of the members. Paths ascend, so no path is there twice, and the reader
needs no memory for them.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ganglion.data.backup.archive import Damaged
from ganglion.settings.reading import impossible, parse_json

FORMAT = 1
# The members that are not the server's.
SUMMARY, LISTING, SUM = "ganglion-backup.json", "manifest.jsonl", "manifest.sha256"
# The parts of an archive, in their order. `long` has members whose path does not fit a header.
DATABASE, DATA, OUTSIDE, MEDIA, LONG = "database", "data", "outside", "media", "long"
SECTIONS = (SUMMARY, DATABASE, DATA, OUTSIDE, MEDIA)
# Entries of the data directory that no backup holds: they are made anew, or have a place of their
# own in the archive.
NOT_KEPT = frozenset(
    {
        ".lock",
        ".restoring",
        ".up",
        "logs",
        "lost+found",
        "outside",
        "postgres",
        "sqlite",
    }
)
# The password of the cluster's role, of which a restored cluster has another.
IN_FORCE = ["secrets", "postgres_password_in_force"]
NOT_KEPT_LIKE = re.compile(r"postgres-\d+|\..+\.new", re.ASCII)
LARGEST_SUMMARY = 64 * 1024
LARGEST_LINE = 32 * 1024
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
MODES = range(0o1000)
FOLDERS = re.compile(r"[0-7]{3}(synapse)?(/[0-7]{3}(synapse)?)*", re.ASCII)
# The only owner that has to be kept: all other files become those of the account that restores.
SYNAPSE = "synapse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The first member: what the archive holds, and which programs wrote it.

    `created` is in seconds since 1970. `schema` and `compatible` are Synapse's versions of the
    database's tables. `dump` is the major version of pg_dump. `database_size` is that of the
    running database in bytes; `kind`, `name` and `role` are those of its server.json. `data` was
    the data directory, and `media` the media store: a path in it, or an absolute one.
    """

    server_name: str
    created: int
    ganglion: str
    synapse: str
    schema: int
    compatible: int
    postgres: int
    dump: int
    database_size: int
    kind: str
    name: str
    role: str
    data: str
    media: str
    test_mode: bool
    remote_media: bool
    scheduled: bool
    format: int = FORMAT

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line: a member with its SHA-256. `path` is its name, or stands for one that is too long.

    `cut` says that the file became shorter while it was read. `folders` has mode and owner of each
    directory above it, such as `755/700synapse`; it is empty if all are 755 and not Synapse's.
    """

    member: str
    path: str
    size: int
    sha256: str
    mode: int = 0o600
    owner: str = ""
    cut: bool = False
    folders: str = ""

    @property
    def section(self) -> str:
        """The part of the archive that it belongs to."""
        return self.path.partition("/")[0]

    @property
    def below(self) -> str:
        """The path within its part."""
        return self.path.partition("/")[2]

    def line(self) -> bytes:
        """Return it as a line of JSON."""
        values: dict[str, Any] = {"member": self.member, "size": self.size, "sha256": self.sha256}
        if self.path != self.member:
            values["path"] = self.path
        if self.mode != 0o600:
            values["mode"] = self.mode
        if self.owner:
            values["owner"] = self.owner
        if self.cut:
            values["cut"] = True
        if self.folders:
            values["folders"] = self.folders
        return json.dumps(values).encode() + b"\n"


def order(path: str) -> tuple[int, tuple[bytes, ...]]:
    """Return the key by which paths ascend. Raises Damaged for one outside of every part."""
    section, _, below = path.partition("/")
    if section not in SECTIONS:
        raise Damaged(f"{path!r} belongs to no part of a backup")
    return SECTIONS.index(section), tuple(os.fsencode(below).split(b"/"))


def parse_summary(text: bytes) -> Summary:
    """Raises Damaged for anything that is no summary of this format."""
    try:
        found = parse_json(text.decode())
    except ValueError as error:
        raise Damaged(f"{SUMMARY} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Damaged(f"{SUMMARY} is not an object")
    if found.get("format") != FORMAT or type(found["format"]) is not int:
        raise Damaged(f"it has the format {found.get('format')!r}; this Ganglion reads {FORMAT}")
    _check_fields(found, Summary.__annotations__, SUMMARY)
    summary = Summary(**found)
    if summary.kind not in ("embedded", "external"):
        raise Damaged(f"{SUMMARY} has the kind {summary.kind!r}, which no database has")
    return summary


def parse_line(line: bytes) -> Entry:
    """Raises Damaged for anything that is no line of a listing."""
    try:
        found = parse_json(line.decode())
    except ValueError as error:
        raise Damaged(f"{LISTING} has a line that is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Damaged(f"{LISTING} has a line that is not an object")
    defaults = {"mode": 0o600, "owner": "", "cut": False, "folders": ""}
    found = {"path": found.get("member"), **defaults, **found}
    _check_fields(found, Entry.__annotations__, LISTING)
    entry = Entry(**found)
    if not SHA256.fullmatch(entry.sha256) or entry.mode not in MODES or entry.size < 0:
        raise Damaged(f"{LISTING} has an impossible line for {entry.member!r}")
    if entry.owner not in ("", SYNAPSE):
        raise Damaged(f"{LISTING} gives {entry.member!r} to the unknown account {entry.owner!r}")
    if entry.path != entry.member and not entry.member.startswith(f"{LONG}/"):
        raise Damaged(f"{LISTING} gives {entry.member!r} the path {entry.path!r}")
    depth = entry.path.count("/") - 1
    if entry.folders and not (
        FOLDERS.fullmatch(entry.folders) and entry.folders.count("/") == depth - 1
    ):
        raise Damaged(f"{LISTING} has impossible directories for {entry.member!r}")
    check_path(entry.path)
    return entry


def check_path(path: str) -> None:
    """Raise Damaged for a path that would leave its place, or that no backup holds."""
    reason = impossible(path)
    if reason:
        raise Damaged(f"{path!r}: {reason}")
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise Damaged(f"{path!r} leads out of the archive")
    if parts[0] not in SECTIONS or (len(parts) == 1) != (parts[0] == SUMMARY):
        raise Damaged(f"{path!r} belongs to no part of a backup")
    if parts[0] == DATA and not (is_kept(parts[1]) and parts[1:] != IN_FORCE):
        raise Damaged(f"{path!r} is not a file that a backup holds")


def is_kept(name: str) -> bool:
    """Return whether a backup holds an entry of the data directory."""
    return name not in NOT_KEPT and not NOT_KEPT_LIKE.fullmatch(name)


def _check_fields(found: dict[str, Any], fields: Mapping[str, type], where: str) -> None:
    """Check names and types. Every type is one of JSON's."""
    if found.keys() != fields.keys():
        wrong = sorted(map(str, found.keys() ^ fields.keys()))
        raise Damaged(f"{where} lacks, or has beyond its fields: {', '.join(wrong[:5])}")
    for name, kind in fields.items():
        # A bool is an int too.
        if type(found[name]) is not kind:
            raise Damaged(
                f"{where} has {name} {str(found[name])[:50]!r}, which is no {kind.__name__}"
            )
        if kind is int and not 0 <= found[name] < 1 << 62:
            raise Damaged(f"{where} has an impossible {name}")
