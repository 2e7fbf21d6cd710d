"""Archives of backups: whole ones are read, all others are refused with the reasons."""

import io
import json
import os
import subprocess
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ganglion.data.backup import archive, manifest
from ganglion.errors import ConfigError
from tests.backups import MEMBERS, SUMMARY, Member, build, resummed, verified, with_header

TREE = MEMBERS[1]
LARGE = 1 << 60


def refusals(tmp_path: Path, text: bytes) -> list[str]:
    """Return the problems of an archive that is not accepted."""
    path = tmp_path / "backup.tar"
    path.write_bytes(text)
    with pytest.raises(ConfigError) as raised:
        verified(path)
    assert all("\x1b" not in str(problem) for problem in raised.value.problems)
    assert {problem.variable for problem in raised.value.problems} == {"FILE"}
    return [problem.message for problem in raised.value.problems]


def test_a_whole_archive_is_read(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    path.write_bytes(build())
    found = verified(path)
    assert found.summary == SUMMARY
    assert (found.members, found.media_members) == (6, 1)
    assert (found.database, found.files, found.media) == (1500, 21, 1400)


def test_tar_extracts_it(tmp_path: Path) -> None:
    """The way out without Ganglion."""
    long = "data/" + "d" * 120 + "/" + "f" * 90
    path = tmp_path / "backup.tar"
    path.write_bytes(build([MEMBERS[0], Member(path=long), *MEMBERS[3:]]))
    subprocess.run(["tar", "-xf", path], cwd=tmp_path, check=True)
    assert (tmp_path / long).read_bytes() == b"content"
    assert (tmp_path / "database/000000").read_bytes() == MEMBERS[0].content
    subprocess.run(["sha256sum", "--check", "--quiet", manifest.SUM], cwd=tmp_path, check=True)


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    whole = build()
    path = tmp_path / "backup.tar"
    for at in range(0, len(whole), 37):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(ConfigError):
            verified(path)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = build()
    path = tmp_path / "backup.tar"
    for size in {*range(0, len(whole), 211), *range(0, len(whole), 512)}:
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError):
            verified(path)


@pytest.mark.parametrize("more", [b"\0", bytes(512), bytes(10240), b"x", build()])
def test_nothing_may_follow(tmp_path: Path, more: bytes) -> None:
    assert "follow its last member" in refusals(tmp_path, build() + more)[0]


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_of_others_is_refused(tmp_path: Path, format_: int) -> None:
    """Even one that holds the same."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(build())) as mine,
        tarfile.open(fileobj=out, mode="w", format=format_) as theirs,
    ):
        for member in mine:
            theirs.addfile(member, mine.extractfile(member))
    refusals(tmp_path, out.getvalue())


@pytest.mark.parametrize("text", [b"", b"x", b"\0" * 512, b"\0" * 1024, b"PK\3\4" * 400])
def test_a_file_of_others_is_refused(tmp_path: Path, text: bytes) -> None:
    assert len(refusals(tmp_path, text)) == 1


def test_a_directory_or_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ConfigError, match="is not a regular file"):
            verified(path)
    with pytest.raises(ConfigError, match="No such file"):
        verified(tmp_path / "nothing")


@pytest.mark.parametrize(
    "path",
    [
        "data/../escaped",
        "data/a/../../../escaped",
        "data/..",
        "data/.",
        "data//double",
        "data/slash/",
        "data/./dot",
        "/etc/absolute",
        "../above",
        "..",
        "outside/../../escaped",
        "media/../data/x",
        "elsewhere/x",
        "DATA/x",
        "Data/homeserver.yaml",
        "data",
        "media",
        "long/000001",
        manifest.SUMMARY + "/x",
        "data/.lock",
        "data/.restoring/journal.json",
        "data/.homeserver.d.new/x",
        "data/postgres/PG_VERSION",
        "data/postgres-15/PG_VERSION",
        "data/outside/x",
        "data/secrets/postgres_password_in_force",
        "data/" + "x" * 256,
        "data/\x1b[2Jescapes/../x",
    ],
)
def test_a_path_that_no_backup_has_is_refused(tmp_path: Path, path: str) -> None:
    """Also as the path of a member whose own name is too long, or stands for one that is."""
    entry = Member(path="long/000001").entry()
    hidden = Member(path="long/000001", line=replace(entry, path=path).line())
    for member in (Member(path=path), hidden) if archive.fits(path) else (hidden,):
        assert refusals(tmp_path, build([MEMBERS[0], member]))


def test_all_problems_are_named(tmp_path: Path) -> None:
    wrong = [
        Member(path="database/000000").listed(sha256="0" * 64),
        Member(path="data/../a"),
        Member(path="data/b").listed(sha256="1" * 64),
        Member(path="data/b"),
    ]
    messages = "\n".join(refusals(tmp_path, build(wrong)))
    for part in ("'database/000000' does", "'data/../a'", "'data/b' does", "'data/b' is there"):
        assert part in messages


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"x", b"g", b"L"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    """Links, devices, directories, and extensions that rename the next member."""
    plain = Member(path="data/x").header()
    header = resummed(plain[:156] + kind + b"/etc/shadow".ljust(100, b"\0") + plain[257:])
    refusals(tmp_path, with_header("data/x", header))


@pytest.mark.parametrize(
    ("at", "field"),
    [
        (100, b"0004755\0"),
        (108, b"0000001\0"),
        (124, b"\x80" + LARGE.to_bytes(11)),
        (124, b"\xff" * 12),
        (124, b"77777777777\0"),
        (124, b"         7 \0"),
        (124, b"000000000_7\0"),
        (157, b"/etc/shadow"),
        (257, b"ustar  \0"),
        (265, b"root"),
        (500, b"hidden bytes"),
        (0, b"data/x\0hidden"),
        (0, b"/../etc"),
    ],
)
def test_a_header_that_no_backup_writes_is_refused(tmp_path: Path, at: int, field: bytes) -> None:
    plain = Member(path="data/x").header()
    header = plain[:at] + field + plain[at + len(field) :]
    assert len(header) == archive.BLOCK
    for written in (header, resummed(header)):
        refusals(tmp_path, with_header("data/x", written))


@pytest.mark.parametrize(
    "members",
    [
        [MEMBERS[0], TREE, TREE],
        [TREE, MEMBERS[0]],
        [MEMBERS[0], Member(path="data/b"), Member(path="data/a")],
        [MEMBERS[0], Member(path="data/a"), Member(path="data/a/b")],
        [MEMBERS[0], Member(path="data/a.b"), Member(path="data/a/b")],
        [MEMBERS[0], TREE.listed(member="data/x", path="data/x")],
        [MEMBERS[0], TREE.listed(path="data/x")],
        [MEMBERS[0], TREE.listed(size=8)],
        [MEMBERS[0], TREE.listed(size=LARGE)],
        [MEMBERS[0], TREE.listed(size=-1)],
        [MEMBERS[0], TREE.listed(mode=0o4755)],
        [MEMBERS[0], TREE.listed(owner="root")],
        [MEMBERS[0], TREE.listed(folders="755")],
        [MEMBERS[0], Member(path="data/a/b/c").listed(folders="755")],
        [MEMBERS[0], Member(path="data/a/b/c").listed(folders="755/4755")],
        [MEMBERS[0], TREE.listed(sha256="A" * 64)],
        [MEMBERS[0], replace(TREE, line=b"")],
        [MEMBERS[0], replace(TREE, line=b"{}\n")],
        [MEMBERS[0], replace(TREE, line=b"[]\n")],
        [MEMBERS[0], replace(TREE, line=b"[" * 20000 + b"\n")],
        [MEMBERS[0], replace(TREE, line=b"x" * 40000)],
        [MEMBERS[0], replace(TREE, line=TREE.entry().line() * 2)],
        [],
        [TREE],
        [Member(path="database/000001")],
        [MEMBERS[0], Member(path="database/000002")],
        [MEMBERS[0], Member(path="database/x")],
    ],
)
def test_a_listing_that_lies_is_refused(tmp_path: Path, members: list[Member]) -> None:
    assert refusals(tmp_path, build(members))


def test_more_lines_or_another_checksum_are_refused(tmp_path: Path) -> None:
    line = Member(path="media/more").entry().line()
    assert refusals(tmp_path, build(more_lines=[line])) == [
        "manifest.jsonl lists more than there is"
    ]
    assert refusals(tmp_path, build(more_lines=[line[:-1]]))
    assert "SHA-256" in refusals(tmp_path, build(checksum="0" * 64))[0]


def changed(**values: object) -> bytes:
    """Return the summary with other values; None removes one."""
    found = {**asdict(SUMMARY), **values}
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode()


@pytest.mark.parametrize(
    "summary",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 10000,
        b" " * 70000 + SUMMARY.text().encode(),
        changed(format=2),
        changed(format=True),
        changed(format="1"),
        changed(created=-1),
        changed(created=1 << 70),
        changed(schema="94"),
        changed(schema=94.5),
        changed(test_mode=0),
        changed(server_name=None),
        changed(more="fields"),
        changed(kind="sqlite"),
    ],
)
def test_a_summary_of_another_form_is_refused(tmp_path: Path, summary: bytes) -> None:
    assert refusals(tmp_path, build(summary=summary))


@pytest.mark.parametrize(("above", "below"), [(0, 1), (0, 100), (49, 50), (154, 99), (155, 100)])
def test_headers_hold_names_up_to_their_limit(above: int, below: int) -> None:
    name = ("d" * above + "/" if above else "") + "f" * below
    written = archive.header(name, 8**12, 0)
    found = next(archive.scan(io.BytesIO(written), 8**13))
    assert (found.name, found.size) == (name, 8**12)
    assert not archive.fits("x" * 101)
    with pytest.raises(ValueError, match="too long"):
        archive.header("d" * 156 + "/f", 0, 0)
