"""The run directory is locked, and nothing of an earlier run survives in it."""

import os
from pathlib import Path

import pytest

from ganglion.data.paths import RUN_ENTRIES, Paths
from ganglion.data.run_directory import claimed
from tests.plans import problems, said

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")


def paths(run: Path) -> Paths:
    return Paths(data="/data", run=str(run))


def claim(run: Path) -> None:
    with claimed(paths(run)):
        pass


def test_nothing_of_an_earlier_run_survives(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    (run / "sockets/deep").mkdir(parents=True)
    (run / "sockets/main.sock.lock").symlink_to("4711")
    (run / "nginx.pid").write_text("1")
    outside.mkdir()
    (outside / "kept").touch()
    (run / "conf").symlink_to(outside)
    (run / "sockets/deep/link").symlink_to(outside)
    claim(run)
    assert [path.name for path in run.iterdir()] == [".lock"]
    assert [path.name for path in outside.iterdir()] == ["kept"]


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "thesis.txt").touch()
    assert problems(lambda: claim(tmp_path)) == [
        said(
            f"GANGLION_RUN={str(tmp_path)!r}",
            "holds thesis.txt, which a start would have to remove",
            "name a new or an empty directory",
        )
    ]
    assert (tmp_path / "conf").is_dir()


def test_two_servers_cannot_share_it(tmp_path: Path) -> None:
    with claimed(paths(tmp_path)):
        (tmp_path / "conf").mkdir()
        assert problems(lambda: claim(tmp_path)) == [
            said(
                f"GANGLION_RUN={str(tmp_path)!r}",
                "is in use by another server",
                "stop that one first",
            )
        ]
        assert (tmp_path / "conf").is_dir()
    assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o600


def test_it_cannot_be_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (problem,) = problems(lambda: claim(tmp_path / "file" / "run"))
    assert "cannot be written: Not a directory" in problem


@AS_ROOT
def test_it_becomes_roots(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    claim(tmp_path)
    assert (tmp_path.stat().st_uid, tmp_path.stat().st_mode & 0o777) == (0, 0o755)


def test_every_path_of_a_run_directory_is_a_known_entry() -> None:
    found = Paths(data="/d", run="/r")
    names = [name for name, item in vars(Paths).items() if isinstance(item, property)]
    below = [str(getattr(found, name)) for name in names]
    entries = {path.split("/")[2] for path in below if path.startswith("/r/")}
    assert entries <= RUN_ENTRIES


def test_one_that_is_open_to_all_is_closed_by_its_owner(tmp_path: Path) -> None:
    """The image's is open with the sticky bit, for `docker run --user`."""
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o1777)
    claim(run)
    assert run.stat().st_mode & 0o7777 == 0o755
