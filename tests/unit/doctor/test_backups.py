"""The check of backups."""

import datetime as dt
import json
import os
from pathlib import Path

import pytest

from ganglion.doctor.finding import Level
from ganglion.doctor.place import Place
from tests.doctoring import assert_quiet, finding, findings, place, write


@pytest.fixture
def where(tmp_path: Path) -> Place:
    """An installation with a daily backup of an hour ago."""
    made = place(
        {
            "GANGLION_DATA": str(tmp_path / "data"),
            "GANGLION_RUN": str(tmp_path / "run"),
            "GANGLION_BACKUP": str(tmp_path / "backups"),
        },
        now=dt.datetime.now(dt.UTC),
    )
    aged(write(tmp_path / "backups" / "ganglion-000007-20261127T100000Z.tar", ""), 1)
    return made


def aged(path: Path, hours: float) -> Path:
    moment = dt.datetime.now(dt.UTC).timestamp() - hours * 3600
    os.utime(path, (moment, moment))
    return path


def test_a_backup_of_an_hour_ago_is_quiet(where: Place) -> None:
    assert_quiet(findings("backups", where))


def test_a_backup_that_is_late(where: Place, tmp_path: Path) -> None:
    (backup,) = (tmp_path / "backups").iterdir()
    aged(backup, 40)
    found = finding("backups", where)
    assert found.level is Level.NOTICE
    assert found.message.endswith("the newest is 40 h old")
    backup.unlink()
    assert finding("backups", where).message.endswith("there is none")


def test_a_backup_that_failed(where: Place, tmp_path: Path) -> None:
    state = {"state": "FAILED", "at": 1, "text": "the disk is full"}
    write(tmp_path / "run" / "backup.json", json.dumps(state))
    found = finding("backups", where)
    assert found.level is Level.BAD
    assert found.message == "the last scheduled backup failed: the disk is full"


def test_a_backup_that_was_killed(where: Place, tmp_path: Path) -> None:
    part = write(tmp_path / "backups" / "by-hand.tar.part", "")
    # It may be under way.
    assert_quiet(findings("backups", where))
    aged(part, 30)
    found = finding("backups", where)
    assert found.level is Level.NOTICE
    assert found.fix == (f"rm {part}",)


def test_a_restore_that_has_not_ended(tmp_path: Path) -> None:
    where = place({"GANGLION_DATA": str(tmp_path)})
    assert finding("backups", where).level is Level.SKIPPED
    (tmp_path / ".restoring").mkdir()
    found = finding("backups", where)
    assert found.level is Level.BAD
    assert found.message == f"a restore has not ended: {tmp_path}/.restoring"
