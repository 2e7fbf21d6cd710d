"""The verb export, the secrets that it keeps, and units as systemd judges them."""

import stat
import subprocess
from pathlib import Path

import pytest

from ganglion.cli.main import main
from ganglion.export.unit_file import assignment, command, unit
from tests.exports import ENVIRON, exported
from tests.plans import said

SERVER = {**ENVIRON, "WORKERS": "small, media_repository"}


def export(target: str, path: Path, *options: str, **environ: str) -> int:
    return main(["export", target, str(path), *options], {**SERVER, **environ})


def secrets_below(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_secrets_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    data, path = str(tmp_path / "data"), tmp_path / "out"
    assert export("systemd", path, GANGLION_DATA=data) == 0
    directory = path / "etc/ganglion/secrets"
    first = secrets_below(directory)
    assert len(first) >= 5
    assert all(text.strip() for text in first.values())
    assert len(set(first.values())) == len(first)
    for file in (*directory.iterdir(), path / "etc/ganglion/homeserver.yaml"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert export("systemd", path, GANGLION_DATA=data, WORKERS="none") == 0
    assert secrets_below(directory) == first
    assert not (path / "etc/ganglion/workers").exists()
    # Another place is another server, unless the data directory has its secrets.
    assert export("systemd", tmp_path / "other", GANGLION_DATA=data) == 0
    assert secrets_below(tmp_path / "other/etc/ganglion/secrets").keys() == first.keys()
    assert secrets_below(tmp_path / "other/etc/ganglion/secrets") != first


def test_secrets_of_a_data_directory_and_of_variables_are_used(tmp_path: Path) -> None:
    kept = tmp_path / "data" / "secrets"
    kept.mkdir(parents=True)
    (kept / "form_secret").write_text("of-the-data\n")
    (tmp_path / "data" / "example.com.signing.key").write_text("ed25519 a_kept AAAA\n")
    given = {"SYNAPSE_MACAROON_SECRET_KEY": "of-a-variable"}
    path = tmp_path / "out"
    assert export("synctl", path, GANGLION_DATA=str(tmp_path / "data"), **given) == 0
    found = secrets_below(path / "secrets")
    assert found["form_secret"] == "of-the-data\n"
    assert found["signing_key"] == "ed25519 a_kept AAAA\n"
    assert found["macaroon_secret_key"] == "of-a-variable\n"


def test_a_directory_with_other_files_is_not_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("kept")
    assert export("synctl", tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert capsys.readouterr().err == (
        "ganglion: 1 problem\n"
        + said(
            f"PATH={str(tmp_path)!r}",
            "holds other files, which would be lost",
            "name a new or empty directory",
        )
        + "\n"
    )


def test_what_only_the_supervisor_can_do_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("systemd", tmp_path / "out", GANGLION_TEST_MODE="yes") == 2
    assert not (tmp_path / "out").exists()
    assert "needs Ganglion's supervisor" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["relative/dir", "/with space", "/with%percent", ""])
def test_places_that_other_programs_would_misread_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    assert export("systemd", tmp_path / "out", "--data", place) == 2
    assert f"--data={place!r}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_words_of_a_command_stay_one_word() -> None:
    assert command("/bin/x", "-c", "/plain/path") == "/bin/x -c /plain/path"
    assert command("a b", "100%", "$HOME", 'say "hi"', "\\", "") == (
        r'"a b" "100%%" "$$HOME" "say \"hi\"" "\\" ""'
    )
    assert assignment("NAME", "3;4;") == '"NAME=3;4;"'
    assert unit("By hand", Unit=(("A", "1"), ("A", "2"))) == "# By hand\n\n[Unit]\nA=1\nA=2\n"


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Write the units of a server with TLS, of programs that this machine has."""
    directory = tmp_path_factory.mktemp("units")
    tls = {"SYNAPSE_TLS_CERT": "/etc/hosts", "SYNAPSE_TLS_KEY": "/etc/hosts"}
    files = exported("systemd", "medium", **tls)
    for path, file in files.items():
        if "systemd/system/" in path:
            text = file.content.replace("/opt/venvs/matrix-synapse/bin/python", "/bin/true")
            place = directory / path.rpartition("/")[2]
            place.write_text(text.replace("/usr/sbin/nginx", "/bin/true"))
    return sorted(map(str, directory.iterdir()))


def test_systemd_accepts_every_unit(units: list[str]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_services_are_little_exposed(units: list[str]) -> None:
    services = [path for path in units if path.endswith(".service")]
    assert len(services) == 12
    # In tenths. It fails for an exposure above it.
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", *services],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Overall exposure level") == len(services)
