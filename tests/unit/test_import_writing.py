"""`ganglion import --write`: a whole data directory, or nothing."""

import os
from pathlib import Path

import pytest
import yaml

from ganglion.cli.main import main
from ganglion.data.backup import restoring
from ganglion.data.paths import Paths
from ganglion.errors import ConfigError
from ganglion.importing import writing
from ganglion.importing.layout import Copy, Layout

OLD = """\
server_name: example.org
signing_key_path: /data/example.org.signing.key
media_store_path: /data/media_store
app_service_config_files: [/data/irc/registration.yaml, /data/telegram/registration.yaml]
recaptcha_private_key_path: /data/recaptcha
registration_shared_secret_path: secret
report_stats: false
"""
KEY = "ed25519 a_x AAAA\n"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A volume of Synapse's image, with an image, two bridges and files of secrets."""
    place = tmp_path / "old"
    for name, content in {
        "homeserver.yaml": OLD,
        "example.org.signing.key": KEY,
        "example.org.macaroon.key": "macaroon\n",
        "media_store/local_content/ab/cd/ef": "an image",
        "irc/registration.yaml": "id: irc\n",
        "telegram/registration.yaml": "id: telegram\n",
        "recaptcha": "private\n",
        "secret": "shared\n",
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    return place


def state(place: Path) -> dict[str, str]:
    return {
        str(path.relative_to(place)): path.read_text()
        for path in place.rglob("*")
        if path.is_file()
    }


def test_all_files_find_their_places(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, new = state(old), tmp_path / "new"
    assert main(["import", str(old), "--write", str(new), "--seen-as", "/data/"], {}) == 0
    out, err = capsys.readouterr()
    assert state(old) == before
    found = state(new)
    options = yaml.safe_load(found.pop("homeserver.d/imported.yaml"))
    assert options == {
        "recaptcha_private_key_path": "/data/imported/recaptcha",
        "registration_shared_secret_path": "/data/imported/secret",
        "report_stats": False,
    }
    assert found == {
        "appservices/registration.yaml": "id: irc\n",
        "appservices/registration-2.yaml": "id: telegram\n",
        "example.org.macaroon.key": "macaroon\n",
        "example.org.signing.key": KEY,
        "imported.env": "SYNAPSE_SERVER_NAME=example.org\nWORKERS=none\n",
        "imported/recaptcha": "private\n",
        "imported/secret": "shared\n",
        "media_store/local_content/ab/cd/ef": "an image",
    }
    secret = [path for path in new.rglob("*") if path.is_file() and "media" not in str(path)]
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    # Everything is shown before it is written.
    shown = out.partition("WRITES\n")[2]
    assert all(str(new / name) in shown for name in found if "media" not in name)
    assert f"{new}/media_store  from {old}/media_store, 1 files" in shown
    assert "wrote" in err


def test_the_new_directory_can_be_started(
    old: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short_path.chmod(0o755)
    new = short_path / "new"
    assert main(["import", str(old), "--write", str(new)], {}) == 0
    lines = (new / "imported.env").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines)
    environ |= {"GANGLION_DATA": str(new), "GANGLION_RUN": str(short_path / "run")}
    capsys.readouterr()
    assert main(["check"], environ) == 0, capsys.readouterr().err


def test_a_directory_may_be_mounted_elsewhere(old: Path, tmp_path: Path) -> None:
    text = OLD.replace("/data/", "/etc/matrix-synapse/")
    (old / "homeserver.yaml").write_text(text)
    new = tmp_path / "new"
    assert main(["import", str(old), "--write", str(new)], {}) == 0
    assert state(new)["example.org.signing.key"] == KEY
    # Two bridges whose files have the same name.
    assert state(new)["appservices/registration.yaml"] == "id: irc\n"
    assert state(new)["appservices/registration-2.yaml"] == "id: telegram\n"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["import", *arguments], {}) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_directory_that_holds_something_is_refused(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "mine").write_text("x")
    assert "holds mine" in refused([str(old), "--write", str(new)], capsys)
    assert state(new) == {"mine": "x"}
    (new / "mine").unlink()
    assert main(["import", str(old), "--write", str(new)], {}) == 0


@pytest.mark.parametrize("left", [".importing", ".porting"])
def test_an_import_that_was_killed_is_named(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], left: str
) -> None:
    """Half of its files may be in their places, so no server starts on them."""
    new = tmp_path / "new"
    (new / left).mkdir(parents=True)
    said = refused([str(old), "--write", str(new)], capsys)
    assert "holds an import that was cut off" in said
    assert f"remove {new}, and type it again" in said
    paths = Paths(data=str(new), run="/run/g")
    if left == ".importing":
        with pytest.raises(ConfigError, match="holds an import that was cut off"):
            restoring.refuse(paths)
    else:
        # A start removes it.
        restoring.refuse(paths)


def test_a_file_and_a_circle_of_links_are_no_directories(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, circle = tmp_path / "file", tmp_path / "circle"
    file.touch()
    circle.symlink_to(circle)
    for path in (file, circle, Path("/dev/null")):
        assert "is not a directory" in refused([str(old), "--write", str(path)], capsys)


def test_a_directory_inside_of_the_media_is_refused(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = old / "media_store" / "new"
    assert "which is copied" in refused([str(old), "--write", str(inside)], capsys)
    assert not inside.exists()


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("example.org.signing.key", "signing_key_path"),
        ("irc/registration.yaml", "app_service_config_files"),
        ("recaptcha", "recaptcha_private_key_path"),
    ],
)
def test_a_file_that_is_not_there_is_refused(
    name: str, option: str, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old / name).unlink()
    new = tmp_path / "new"
    assert f"names /data/{name} in {option}" in refused([str(old), "--write", str(new)], capsys)
    assert not new.exists()


def test_nothing_is_left_if_a_copy_fails(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # It would block a reader for ever.
    os.mkfifo(old / "media_store" / "pipe")
    new = tmp_path / "new"
    assert main(["import", str(old), "--write", str(new)], {}) == 2
    assert "is not a regular file" in capsys.readouterr().err
    assert not new.exists()


def test_a_link_in_the_media_stays_a_link(old: Path, tmp_path: Path) -> None:
    (old / "media_store" / "link").symlink_to("/etc/shadow")
    (old / "media_store" / "nowhere").symlink_to("gone")
    new = tmp_path / "new"
    assert main(["import", str(old), "--write", str(new)], {}) == 0
    assert (new / "media_store" / "link").readlink() == Path("/etc/shadow")


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        # Without blocks: the disk does not have that much.
        file.truncate(2**43)
    layout = Layout(files=(), copies=(Copy(source=large, target="large"),), notes=())
    with pytest.raises(ConfigError, match="MB are needed"):
        writing.check(tmp_path / "new", layout)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no PATH is given"),
        (["--write", "x"], "no PATH is given"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(arguments, capsys)


def test_an_sqlite_file_is_not_left_behind(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old / "homeserver.db").write_bytes(b"SQLite format 3\0")
    new = tmp_path / "new"
    assert "add --from-sqlite" in refused([str(old), "--write", str(new)], capsys)
    assert not new.exists()
    with (old / "homeserver.yaml").open("a") as file:
        file.write("database: {name: psycopg2, args: {host: db}}\n")
    assert main(["import", str(old), "--write", str(new)], {}) == 0


def test_an_sqlite_file_has_to_be_one(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(old), "--write", str(tmp_path / "new"), "--from-sqlite"]
    assert "there is no SQLite file homeserver.db" in refused(words, capsys)
    assert "is not an SQLite database" in refused([*words, str(old / "secret")], capsys)
    assert "cannot be read: No such file" in refused([*words, "/nowhere"], capsys)
    assert "cannot be read: Is a directory" in refused([*words, str(old)], capsys)
    assert not (tmp_path / "new").exists()
