"""Temporary files go to the run directory where no usual place can be written."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ganglion.errors import ConfigError
from ganglion.machine import children, temporary


def none_found() -> str:
    raise FileNotFoundError


def test_a_usual_place_stays() -> None:
    environ = {"TMPDIR": "/var/tmp"}  # noqa: S108 - only the name
    temporary.ensure(environ, "/run/ganglion/temporary", lambda: "/var/tmp")  # noqa: S108
    assert environ == {"TMPDIR": "/var/tmp"}  # noqa: S108


def test_without_one_the_run_directory_is_named() -> None:
    environ: dict[str, str] = {}
    temporary.ensure(environ, "/run/ganglion/temporary", none_found)
    assert environ == {"TMPDIR": "/run/ganglion/temporary"}


def test_a_verb_that_needs_one_says_so() -> None:
    temporary.check(lambda: "/var/tmp")  # noqa: S108
    with pytest.raises(ConfigError, match="no temporary file can be made"):
        temporary.check(none_found)


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_directory_is_there_for_its_body_alone(parent: Path) -> None:
    with temporary.directory("test") as place:
        (place / "within").mkdir()
        assert list(parent.iterdir()) == [place]
    assert list(parent.iterdir()) == []


def test_one_that_a_killed_process_left_is_removed_and_others_are_not(parent: Path) -> None:
    left, used, other = (parent / f"ganglion.{name}" for name in ("a.12345678", "b.1_aB5678", "c"))
    for path in (left, used, other):
        (path / "within").mkdir(parents=True)
    link = parent / "ganglion.d.12345678"
    link.symlink_to(other)
    held = os.open(used, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with temporary.directory("test") as place:
        # A second process does not take it for one that was left.
        temporary.remove_left(parent)
        assert set(parent.iterdir()) == {used, other, link, place}
    assert (other / "within").exists()
    os.close(held)


@pytest.mark.timeout(60)
def test_one_is_kept_as_long_as_a_program_of_a_killed_process_runs(parent: Path) -> None:
    with temporary.directory("test") as place:
        program = children.start([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        copy = parent / "copy"
        place.rename(copy)
    # The owner has let go of it, and the program has not.
    copy.rename(place)
    temporary.remove_left(parent)
    assert place.exists()
    program.communicate(b"")
    temporary.remove_left(parent)
    assert not place.exists()
