"""The checks of a start before it writes anything."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ganglion.boot import makes_backups, start
from ganglion.data.directories import make_directories
from ganglion.data.lock import _check_entry, locked
from ganglion.data.paths import Paths
from ganglion.programs.registry import TYPICAL
from ganglion.supervisor.output import Output
from ganglion.supervisor.start_times import Timeline
from tests.plans import plan, problems, said


def paths(data: Path) -> Paths:
    return Paths(data=str(data), run="/run/g")


ALONE = replace(TYPICAL, accounts=())


def entered(data: Path) -> None:
    with locked(paths(data), ALONE):
        pass


def never(line: str) -> None:
    raise AssertionError(line)


def test_a_certificate_that_is_not_there_stops_the_start_before_it_writes(tmp_path: Path) -> None:
    environ = {
        "GANGLION_DATA": f"{tmp_path}/data",
        "GANGLION_RUN": "/run/g",
        "SYNAPSE_TLS_CERT": f"{tmp_path}/cert.pem",
        "SYNAPSE_TLS_KEY": f"{tmp_path}",
    }
    errors = ("No such file or directory", "Is a directory")
    fix = "give the path of a PEM file; in a container, mount it there"
    assert problems(lambda: start(plan(environ), never, Timeline(), Output())) == [
        said(f"{name}={environ[name]!r}", f"cannot be read: {error}", fix)
        for name, error in zip(("SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"), errors, strict=True)
    ]
    assert list(tmp_path.iterdir()) == []


def test_two_servers_cannot_share_a_data_directory(tmp_path: Path) -> None:
    with locked(paths(tmp_path), ALONE):
        assert problems(lambda: entered(tmp_path)) == [
            said(
                f"GANGLION_DATA={str(tmp_path)!r}",
                "is in use by another server",
                "stop that one first",
            )
        ]
    entered(tmp_path)
    assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    data = tmp_path / "file" / "data"
    assert problems(lambda: entered(data)) == [
        said(
            f"GANGLION_DATA={str(data)!r}",
            "cannot be written: Not a directory",
            f"give a directory that UID {os.geteuid()} may write to",
        )
    ]


def test_the_programs_accounts_must_be_able_to_enter(tmp_path: Path) -> None:
    closed, data = tmp_path / "closed", tmp_path / "closed" / "data"
    data.mkdir(parents=True)
    closed.chmod(0o700)
    assert problems(lambda: _check_entry(data, TYPICAL)) == [
        said(
            f"GANGLION_DATA={str(data)!r}",
            f"is below {closed}, which only its owner may enter; the programs run as accounts of"
            " their own",
            f"chmod o+x {closed}, or set GANGLION_DATA to a directory such as /var/lib/ganglion",
        )
    ]
    _check_entry(data, ALONE)


@pytest.mark.parametrize("only", ["", "main", "synchrotron", "nginx"])
def test_of_several_containers_the_one_with_main_makes_the_backups(only: str) -> None:
    several = {"GANGLION_ONLY": only, "GANGLION_HOSTS": "*={process}"} if only else {}
    environ = {"WORKERS": "synchrotron", **several}
    assert makes_backups(plan({**environ, "GANGLION_BACKUP": "/backups"})) == (only in ("", "main"))
    assert not makes_backups(plan(environ))


def test_a_start_removes_what_a_killed_move_from_sqlite_has_left(tmp_path: Path) -> None:
    settings = plan(
        {"GANGLION_DATA": f"{tmp_path}/data", "GANGLION_RUN": f"{tmp_path}/run"}
    ).settings
    copy = Path(settings.paths.porting, "sqlite", "homeserver.db")
    copy.parent.mkdir(parents=True)
    copy.write_text("a copy of the whole database")
    make_directories(settings, ALONE)
    assert not Path(settings.paths.porting).exists()
    assert Path(settings.paths.media_store).is_dir()
