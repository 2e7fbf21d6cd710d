"""Writing files: all or none, whatever was there, with their modes."""

import errno
import multiprocessing
import os
import pwd
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganglion.files.file import SECRET, File
from ganglion.files.write import make_directory, write_directory, write_file

FILES = (
    File(path="a.conf", content="first\n"),
    File(path="deep/er/b.yaml", content="zwei: €\n"),
    File(path="secrets/c", content="hush\n", mode=SECRET, program="synapse"),
)


@pytest.fixture(autouse=True)
def strict_umask() -> Iterator[None]:
    """One that would close everything to others."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def tree(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text(encoding="utf-8")
        for path in directory.rglob("*")
        if path.is_file()
    }


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_directory_is_made_with_all_above_it(tmp_path: Path) -> None:
    conf = tmp_path / "run" / "ganglion" / "conf"
    write_directory(conf, FILES, {})
    assert tree(conf) == {file.path: file.content for file in FILES}
    assert [path.name for path in conf.parent.iterdir()] == ["conf"]


def test_modes_are_those_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    write_directory(conf, FILES, {})
    assert mode(conf) == mode(conf / "deep") == mode(conf / "deep" / "er") == 0o755
    assert mode(conf / "secrets") == 0o755
    assert mode(conf / "a.conf") == mode(conf / "deep" / "er" / "b.yaml") == 0o644
    assert mode(conf / "secrets" / "c") == 0o600


def test_a_file_belongs_to_its_programs_account(tmp_path: Path) -> None:
    """As root to another one, else to ourselves, which changes nothing."""
    account = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    write_directory(tmp_path / "conf", FILES, {"synapse": account})
    assert (tmp_path / "conf" / "secrets" / "c").owner() == account
    assert (tmp_path / "conf" / "a.conf").stat().st_uid == os.geteuid()


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    write_directory(conf, FILES, {})
    (conf / "stray").write_text("not rendered")
    write_directory(conf, FILES[:1], {})
    assert tree(conf) == {"a.conf": "first\n"}


def test_what_a_start_that_was_cut_off_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".conf.new" / "deep").mkdir(parents=True)
    (tmp_path / ".conf.new" / "deep" / "half").write_text("hal")
    write_directory(tmp_path / "conf", FILES[:1], {})
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_a_failure_leaves_the_old_directory_as_it_was(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    write_directory(conf, FILES[:1], {})
    clash = (File(path="a", content="file"), File(path="a/b", content="below a file"))
    with pytest.raises(OSError, match="a"):
        write_directory(conf, clash, {})
    assert tree(conf) == {"a.conf": "first\n"}


def test_a_file_is_replaced_at_once_with_its_new_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, "old", 0o644, None)
    before = path.stat().st_ino
    write_file(path, "new", SECRET, None)
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    # A reader that has the old one open goes on reading it.
    assert path.stat().st_ino != before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    link, staged = tmp_path / "link", tmp_path / ".link.new"
    link.symlink_to(target)
    staged.symlink_to(target)
    write_file(link, "new", SECRET, None)
    assert target.read_text() == "untouched"
    assert not link.is_symlink()
    assert link.read_text() == "new"


def test_a_directory_that_is_there_gets_its_mode(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b", 0o750, None)
    assert mode(tmp_path / "a" / "b") == 0o750
    make_directory(tmp_path / "a" / "b", 0o700, None)
    assert mode(tmp_path / "a" / "b") == 0o700


def fill(path: Path) -> tuple[int | None, str]:
    """Write a file that is larger than may be, as on a full disk; return the error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    try:
        write_file(path, "more than ten bytes", 0o600, None)
    except OSError as error:
        return error.errno, str(error.filename)
    return None, ""


def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(fill, (path,)) == (errno.EFBIG, str(path))
    assert tree(tmp_path) == {"secret": "old"}
