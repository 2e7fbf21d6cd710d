"""Scheduled backups: when they are due, and which are deleted."""

import contextlib
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ganglion.data.backup import schedule
from ganglion.data.backup.contents import Contents
from ganglion.data.backup.schedule import FAILED, RUNNING, Job, Kept, State
from ganglion.data.backup.target import written
from ganglion.errors import ConfigError
from ganglion.programs.postgres.client import Client, Failed
from ganglion.settings.operator_files import OperatorFiles
from tests.backups import MEMBERS, SUMMARY, build
from tests.plans import problems, settings

DAY = 86400.0
OURS = replace(SUMMARY, scheduled=True)


def job(tmp_path: Path) -> Job:
    """Return a job whose database cannot be reached."""
    (tmp_path / "run").mkdir()
    (tmp_path / "data").mkdir()
    found = settings(
        GANGLION_DATA=str(tmp_path / "data"),
        GANGLION_RUN=str(tmp_path / "run"),
        GANGLION_BACKUP=str(tmp_path / "backups"),
    )
    contents = Contents(
        settings=found,
        operator=OperatorFiles(options={}),
        account=None,
        remote_media=False,
        note=lambda _: None,
    )
    client = Client(programs="/nonexistent", dsn="")
    return Job(contents=contents, server_name="example.org", client=lambda: client)


@pytest.mark.parametrize(
    ("created", "now", "expected"),
    [
        (None, 0.0, schedule.AFTER_START),
        (0, 1000.0, DAY - 1000),
        (0, DAY * 30, schedule.AFTER_START),
        # The clock was, or is, wrong.
        (int(DAY * 1000), 0.0, DAY),
        (0, DAY - 1, schedule.AFTER_START),
    ],
)
def test_when_the_first_is_due(created: int | None, now: float, expected: float) -> None:
    last = None if created is None else Kept(number=1, path=Path("x"), created=created)
    assert schedule.wait(DAY, last, now) == expected
    assert schedule.wait(5.0, last, now) <= 5.0


@pytest.mark.parametrize("keep", [1, 2, 7])
def test_the_newest_are_kept_whatever_the_clock_says(keep: int) -> None:
    chance = random.Random(keep)
    kept = [
        Kept(number=number, path=Path(str(number)), created=chance.randrange(1 << 40))
        for number in range(1, 12)
    ]
    chance.shuffle(kept)
    deleted = {item.number for item in schedule.surplus(kept, keep)}
    assert deleted == set(range(1, 12 - keep))
    assert schedule.surplus(kept[:1], 0) == []


def test_only_its_own_backups_count(tmp_path: Path) -> None:
    """All else in the directory is never deleted."""
    own = tmp_path / "ganglion-000002-20261127T120000Z.tar"
    own.write_bytes(build(MEMBERS, OURS))
    others = {
        "ganglion-000001-20261127T120000Z.tar": build(MEMBERS, SUMMARY),
        "ganglion-000003-20261127T120000Z.tar": build(
            MEMBERS, replace(OURS, server_name="other.org")
        ),
        "ganglion-000004-20261127T120000Z.tar": b"damaged",
        "ganglion-000005-20261127T120000Z.tar": b"",
        "ganglion-000006-20261127T120000Z.tar.gz": build(MEMBERS, OURS),
        "my.tar": build(MEMBERS, OURS),
        "ganglion-7-20261127T120000Z.tar": build(MEMBERS, OURS),
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "ganglion-000008-20261127T120000Z.tar").symlink_to(own)
    (tmp_path / "ganglion-000009-20261127T120000Z.tar").mkdir()
    os.mkfifo(tmp_path / "ganglion-000010-20261127T120000Z.tar")
    found = schedule.made_before(tmp_path, "example.org")
    assert found == [Kept(number=2, path=own, created=SUMMARY.created)]


def test_parts_of_killed_ones_are_removed_and_others_stay(tmp_path: Path) -> None:
    stale = tmp_path / "ganglion-000001-20261127T120000Z.tar.part"
    other = tmp_path / "my.tar.part"
    stale.touch()
    other.touch()
    with written(tmp_path / "ganglion-000002-20261127T120000Z.tar"):
        schedule.remove_stale_parts(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {
            other.name,
            "ganglion-000002-20261127T120000Z.tar.part",
        }


def test_a_failure_is_said_and_deletes_nothing(tmp_path: Path) -> None:
    work = job(tmp_path)
    work.directory.mkdir()
    for number in range(1, 10):
        path = work.directory / f"ganglion-{number:06}-20261127T120000Z.tar"
        path.write_bytes(build(MEMBERS, OURS))
    state = schedule.attempt(work)
    assert state.state == FAILED
    assert "/nonexistent/psql cannot be started: No such file" in state.text
    assert len(list(work.directory.iterdir())) == 9


def test_a_failure_is_told_with_the_time_of_the_next_attempt(tmp_path: Path) -> None:
    """In a process of its own, because it lowers its priority."""
    work = job(tmp_path)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            schedule.run(work, lambda line: print_line(writer, line))
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        told, pause = file.read().splitlines()
    assert told.startswith("log the scheduled backup failed: /nonexistent/psql cannot be started")
    assert pause == f"pause {schedule.RETRY}"
    state = schedule.read_state(work.settings)
    assert state is not None
    assert state.state == FAILED
    schedule.failed(work.settings, "killed")
    state = schedule.read_state(work.settings)
    assert state is not None
    assert state.text == "killed"


def print_line(descriptor: int, line: str) -> None:
    os.write(descriptor, f"{line}\n".encode())


def test_the_state_is_read_while_it_runs_and_when_it_is_damaged(tmp_path: Path) -> None:
    found = job(tmp_path).settings
    assert schedule.read_state(found) is None
    state = State(state=RUNNING, at=5, text="")
    schedule.keep_state(found, state)
    assert schedule.read_state(found) == state
    Path(found.paths.backup_state).write_text("[]")
    assert schedule.read_state(found) is None


def test_a_directory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not a directory"):
        schedule.check(settings(GANGLION_BACKUP=str(tmp_path / "file")))
    schedule.check(settings(GANGLION_BACKUP=str(tmp_path / "new")))
    chosen = replace(settings(GANGLION_BACKUP=str(tmp_path)), sqlite="/data/homeserver.db")
    with pytest.raises(ConfigError, match="an SQLite database cannot be backed up"):
        schedule.check(chosen)
    (text,) = problems(lambda: settings(GANGLION_BACKUP="/b", GANGLION_BACKUP_KEEP="0"))
    assert "GANGLION_BACKUP_KEEP" in text


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "psql").write_text("#!/bin/sh\necho some reason >&2; exit 3\n")
    (tmp_path / "psql").chmod(0o755)
    client = Client(programs=str(tmp_path), dsn="")
    with pytest.raises(Failed, match="psql failed: some reason"):
        client.query("SELECT 1")


def test_a_password_is_in_no_environment_and_in_no_argument(tmp_path: Path) -> None:
    lines = (
        "#!/bin/sh",
        'PATH=/usr/bin:/bin; tr "\\0" "\\n" < /proc/self/environ',
        'echo "$@"',
        'cat "$PGPASSFILE"',
    )
    (tmp_path / "psql").write_text("\n".join(lines))
    (tmp_path / "psql").chmod(0o755)
    client = Client(programs=str(tmp_path), dsn="", password="it's:a\\hidden")
    running = client.start(("psql", "-d", client.dsn), stdout=subprocess.PIPE)
    with running:
        *seen, last = running.stdout.read().decode().splitlines()
    assert last == "*:*:*:*:it's\\:a\\\\hidden"
    assert any(line.startswith("PGPASSFILE=/proc/self/fd/") for line in seen)
    assert not any("hidden" in line for line in seen)
