"""Checks of the data directory."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ganglion.doctor.disk import MANY_DAYS, Disk, observe_disk
from ganglion.doctor.finding import Finding, Level
from ganglion.doctor.place import Place
from tests.doctoring import NoDatabase, assert_quiet, finding, findings, judged, place, write

GB = 1024**3


@pytest.fixture
def data(short_path: Path) -> Path:
    """A data directory as a start leaves it."""
    short_path.chmod(0o755)
    found = short_path / "data"
    for name in ("media_store", "secrets"):
        (found / name).mkdir(parents=True)
    (found / "secrets").chmod(0o700)
    write(found / "server.json", "{}")
    write(found / "secrets" / "form_secret", "x", 0o600)
    write(found / "localhost.signing.key", "x", 0o600)
    return found


def of(data: Path, **changed: object) -> Place:
    return replace(place({"GANGLION_DATA": str(data)}), **changed)  # type: ignore[arg-type]


def repair(found: Finding) -> None:
    """Type the command."""
    assert os.system(found.fix[0]) == 0  # noqa: S605 - as an operator does


def test_a_media_store_that_is_missing(data: Path) -> None:
    assert_quiet(findings("media-store", of(data)))
    (data / "media_store").rmdir()
    found = finding("media-store", of(data))
    assert found.level is Level.BAD
    assert found.message == f"the media store {data}/media_store is missing for this account"
    repair(found)
    assert_quiet(findings("media-store", of(data)))


def test_a_media_store_that_is_a_file(data: Path) -> None:
    (data / "media_store").rmdir()
    write(data / "media_store", "")
    found = finding("media-store", of(data))
    assert "is not a directory" in found.message


def test_a_media_store_of_another_account(data: Path) -> None:
    (data / "media_store").chmod(0o500)
    # Root may write anywhere, so look with the eyes of another account.
    where = of(data, accounts={"synapse": "65534:65534"} if os.geteuid() == 0 else {})
    found = finding("media-store", where)
    assert found.level is Level.BAD
    assert "is not writable" in found.message
    repair(found)
    assert_quiet(findings("media-store", where))


def test_the_media_store_of_the_operators_files(data: Path) -> None:
    where = place({"GANGLION_DATA": str(data)}, {"media_store_path": str(data / "elsewhere")})
    assert "elsewhere is missing" in finding("media-store", where).message


DISK = Disk(path="/data", free=50 * GB, size=100 * GB, inodes=0.9)


@pytest.mark.parametrize(
    ("changed", "level", "message"),
    [
        (
            {"growth": 5 * GB},
            Level.NOTICE,
            "50.0 GB left of 100.0 GB; at the present growth for 10",
        ),
        ({"growth": 30 * GB}, Level.BAD, "for 2 days"),
        ({"free": 4 * GB}, Level.NOTICE, "/data has 4.0 GB left of 100.0 GB"),
        ({"free": GB // 8}, Level.BAD, "/data has 128 MB left"),
        ({"free": GB // 8, "size": GB}, Level.BAD, "/data has 128 MB left of 1.0 GB"),
        ({"free": 9 * GB, "size": 4000 * GB}, Level.NOTICE, "/data has 9.0 GB left of 4000.0 GB"),
        ({"free": GB // 2, "size": 4000 * GB}, Level.BAD, "/data has 512 MB left of 4000.0 GB"),
        ({"inodes": 0.01}, Level.NOTICE, "the file system of /data has 1.0% of its inodes left"),
    ],
)
def test_room_on_the_disk(changed: dict[str, float], level: Level, message: str) -> None:
    assert_quiet(judged("disk", (replace(DISK, growth=0.1 * GB),)))
    assert_quiet(judged("disk", (DISK,)))
    (found,) = judged("disk", (replace(DISK, **changed),))  # type: ignore[arg-type]
    assert found.level is level
    assert message in found.message


def test_the_growth_of_the_last_week(data: Path) -> None:
    database = NoDatabase(
        {
            "media_length": [(600 * 7, 400 * 7)],
            "max(stream_ordering)": [(900, 200, 1000, 10_000)],
        }
    )
    (disk,) = observe_disk(of(data, database=database))
    # 1000 bytes of media a day, and 700 events of 10 bytes in seven days.
    assert disk.growth == 2000
    # The room on this machine's disk is not the test's to judge.
    room = os.statvfs(data)
    assert disk.size == room.f_blocks * room.f_frsize
    assert disk.days == MANY_DAYS or disk.free < MANY_DAYS * 2000


def test_a_large_disk_that_lasts_long_is_quiet() -> None:
    disk = replace(DISK, free=12 * GB, size=250 * GB, growth=2000.0)
    (found,) = judged("disk", (disk,))
    assert_quiet((found,))
    assert found.message == "12.0 GB left of 250.0 GB, for 9999 days of growth"


@pytest.mark.parametrize("name", ["secrets", "secrets/form_secret", "localhost.signing.key"])
def test_secrets_that_others_can_read(data: Path, name: str) -> None:
    assert_quiet(findings("file-modes", of(data)))
    (data / name).chmod(0o755)
    found = finding("file-modes", of(data))
    assert found.level is Level.BAD
    assert found.message == f"{data}/{name} has mode 0755"
    repair(found)
    assert_quiet(findings("file-modes", of(data)))


def test_a_database_that_others_can_enter(data: Path) -> None:
    (data / "postgres").mkdir(mode=0o700)
    where = of(data, accounts={"postgres": "65534:65534"} if os.geteuid() == 0 else {})
    if os.geteuid() == 0:
        before = finding("file-modes", where)
        assert f"{data}/postgres belongs to UID 0, and PostgreSQL runs as UID" in before.message
        repair(before)
    assert_quiet(findings("file-modes", where))
    (data / "postgres").chmod(0o755)
    found = finding("file-modes", where)
    assert found.level is Level.BAD
    repair(found)
    assert_quiet(findings("file-modes", where))


def test_a_file_of_options_with_a_secret_that_everyone_can_read(data: Path) -> None:
    path = str(write(data / "homeserver.yaml", "email: {smtp_pass: password}", 0o644))
    where = place({"GANGLION_DATA": str(data)}, {"email": {"smtp_pass": "password"}})
    operator = replace(where.operator, paths=(path,), sources={"email": path})
    where = replace(where, operator=operator)
    found = finding("file-modes", where)
    assert found.level is Level.NOTICE
    assert found.message == f"{path} has mode 0644 and holds a secret"
    repair(found)
    assert_quiet(findings("file-modes", where))
