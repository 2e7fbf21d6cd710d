"""The files that a backup holds, where it is written, and how a restore puts them back."""

import io
import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from ganglion.data.backup import manifest, restoring, target
from ganglion.data.backup.archive import Damaged
from ganglion.data.backup.contents import Contents
from ganglion.data.backup.extract import Stage
from ganglion.data.backup.make import Writer
from ganglion.data.backup.manifest import Entry
from ganglion.data.backup.restoring import PLACING, STAGING, Journal
from ganglion.data.backup.target import written
from ganglion.data.backup.verify import checked, ends, members
from ganglion.data.paths import Paths
from ganglion.errors import ConfigError
from ganglion.settings.operator_files import OperatorFiles
from tests.backups import SUMMARY, build, verified
from tests.plans import settings

PIECE = 1024 * 1024


def contents(
    data: Path, notes: list[str], *, remote_media: bool = False, **environ: str
) -> Contents:
    found = settings(GANGLION_DATA=str(data), GANGLION_RUN=str(data / "run"), **environ)
    return Contents(
        settings=found,
        operator=OperatorFiles(options={}),
        account=None,
        remote_media=remote_media,
        note=notes.append,
    )


def fill(data: Path, *names: str) -> None:
    for name in names:
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def archived(what: Contents, path: Path) -> None:
    """Write an archive of all files, with a dump that is none."""
    with path.open("wb") as out:
        writer = Writer(out, io.BytesIO(), SUMMARY.created)
        writer.text(manifest.SUMMARY, SUMMARY.text().encode())
        writer.text("database/000000", b"PGDMP")
        for item in what.files():
            writer.add(item)
        writer.finish()


def entries(path: Path) -> list[Entry]:
    verified(path)
    with path.open("rb") as file:
        return [entry for _, entry in members(file, ends(file).listing)][2:]


def paths_in(path: Path) -> list[str]:
    return [entry.path for entry in entries(path)]


def test_what_is_in_a_backup(tmp_path: Path) -> None:
    data, notes = tmp_path / "data", list[str]()
    kept = ("homeserver.yaml", "homeserver.d/a.yaml", "secrets/form_secret", "my/own/file")
    media = ("local_content/aa/bb/c", "local_thumbnails/aa/bb/c/32")
    remote = (
        "remote_content/x/aa",
        "remote_thumbnail/x/aa",
        "url_cache/a",
        "url_cache_thumbnails/a",
    )
    fill(data, *kept, *(f"media_store/{name}" for name in (*media, *remote)))
    fill(data, "postgres/PG_VERSION", "logs/main.log", "run/conf/secrets/x", ".lock", ".up/server")
    fill(data, ".restoring.new/x", "postgres-15/PG_VERSION", "secrets/postgres_password_in_force")
    archived(contents(data, notes), tmp_path / "a.tar")
    expected = {*(f"data/{name}" for name in kept), *(f"media/{name}" for name in media)}
    assert set(paths_in(tmp_path / "a.tar")) == expected
    archived(contents(data, notes, remote_media=True), tmp_path / "b.tar")
    assert set(paths_in(tmp_path / "b.tar")) == {*expected, *(f"media/{name}" for name in remote)}
    assert notes == []


def test_names_that_sort_in_an_unusual_way_and_long_ones(tmp_path: Path) -> None:
    data = tmp_path / "data"
    deep = "/".join("d" * 200 for _ in range(10))
    names = ("a/x", "a.b", "a b", "A", "a-/z", "ä", "a\nb", "a\x1b[2J", "z" * 255, f"{deep}/f")
    fill(data, *names)
    odd = os.fsdecode(b"data/\xff\xfe")
    (data / odd.removeprefix("data/")).write_text("")
    path = tmp_path / "a.tar"
    archived(contents(data, []), path)
    assert set(paths_in(path)) == {odd, *(f"data/{name}" for name in names)}


def test_what_is_no_file_is_noted_and_left_out(tmp_path: Path) -> None:
    data, notes = tmp_path / "data", list[str]()
    fill(data, "file")
    fill(tmp_path, "config.yaml", "directory/inside")
    os.mkfifo(data / "fifo")
    (data / "homeserver.yaml").symlink_to(tmp_path / "config.yaml")
    (data / "to-directory").symlink_to(tmp_path / "directory")
    (data / "to-nothing").symlink_to(tmp_path / "nothing")
    (data / "loop").symlink_to(data / "loop")
    (data / "earlier.tar").write_bytes(build())
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(data / "s"))
    path = tmp_path / "a.tar"
    (data / "loop").unlink()
    archived(contents(data, notes), path)
    assert paths_in(path) == ["data/file", "data/homeserver.yaml"]
    text = "\n".join(notes)
    assert "data/earlier.tar is not in the backup: it is a backup itself" in text
    for name in ("fifo", "to-directory", "s"):
        assert f"data/{name} is not in the backup: it is not a regular file" in text
    assert "data/to-nothing has vanished" in text


@pytest.mark.parametrize(("mode", "follows"), [(0o755, True), (0o777, os.geteuid() != 0)])
def test_root_follows_no_link_that_others_can_make(
    tmp_path: Path, mode: int, *, follows: bool
) -> None:
    """Anything that root can read would end up in files of Synapse's account."""
    data, path = tmp_path / "data", tmp_path / "a.tar"
    fill(data, "open/file")
    (data / "open" / "link").symlink_to("/etc/passwd")
    (data / "open").chmod(mode)
    archived(contents(data, []), path)
    links = ["data/open/link"] if follows else []
    assert paths_in(path) == ["data/open/file", *links]


def test_secrets_that_variables_give_are_in_it_as_kept_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fill(data, "secrets/form_secret", "secrets/macaroon_secret_key", "example.org.signing.key")
    key = "ed25519 a_new bHrQOsBh3ghZnQIyTEYTwvLJYtTLRxCRJTgUDCaPxVM"
    found = contents(
        data,
        [],
        SYNAPSE_SERVER_NAME="example.org",
        SYNAPSE_SIGNING_KEY=key,
        SYNAPSE_FORM_SECRET="given",
        POSTGRES_PASSWORD="of another server",
        POSTGRES_HOST="db",
    )
    path = tmp_path / "a.tar"
    archived(found, path)
    expected = {
        "data/example.org.signing.key": f"{key}\n",
        "data/secrets/form_secret": "given\n",
        "data/secrets/macaroon_secret_key": "secrets/macaroon_secret_key",
    }
    with path.open("rb") as file:
        read = {
            entry.path: b"".join(checked(file, header, entry)).decode()
            for header, entry in members(file, ends(file).listing)
            if entry.section == manifest.DATA
        }
    assert read == expected


def test_files_elsewhere_are_in_it_by_their_paths(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fill(data, "homeserver.yaml")
    fill(tmp_path, "etc/key.pem", "etc/cert.pem", "etc/templates/a.html", "etc/bridge.yaml")
    options = {
        "custom_template_directory": str(tmp_path / "etc/templates"),
        "media_store_path": str(tmp_path / "media"),
        "app_service_config_files": [str(tmp_path / "etc/bridge.yaml")],
    }
    fill(tmp_path, "media/local_content/x")
    found = replace(
        contents(
            data,
            [],
            SYNAPSE_TLS_CERT=str(tmp_path / "etc/cert.pem"),
            SYNAPSE_TLS_KEY=str(tmp_path / "etc/key.pem"),
        ),
        operator=OperatorFiles(paths=(str(data / "homeserver.yaml"),), options=options),
    )
    path = tmp_path / "a.tar"
    archived(found, path)
    names = ("bridge.yaml", "cert.pem", "key.pem", "templates/a.html")
    outside = [f"outside{tmp_path}/etc/{name}" for name in names]
    assert paths_in(path) == ["data/homeserver.yaml", *outside, "media/local_content/x"]


def test_a_file_that_becomes_shorter_is_marked(tmp_path: Path) -> None:
    data, notes = tmp_path / "data", list[str]()
    fill(data, "file")
    path = tmp_path / "a.tar"
    with path.open("wb") as out:
        writer = Writer(out, io.BytesIO(), SUMMARY.created)
        writer.text(manifest.SUMMARY, SUMMARY.text().encode())
        writer.text("database/000000", b"PGDMP")
        for item in contents(data, notes).files():
            os.truncate(data / "file", 1)
            assert not writer.add(item)
        writer.finish()
    assert verified(path).cut == ("data/file",)


def test_a_backup_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    with written(path) as sink:
        sink.write(b"content")
        assert not path.exists()
        assert (tmp_path / "b.tar.part").stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["b.tar"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="exists already"), written(path):
        pytest.fail("it was opened")
    path.unlink()
    with pytest.raises(ConfigError, match="made meanwhile"), written(path):
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    with pytest.raises(ConfigError, match="is no directory"), written(path / "x"):
        pytest.fail("it was opened")


def test_two_backups_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    with written(path) as sink:
        sink.write(b"first")
        with pytest.raises(ConfigError, match="being written by another backup"), written(path):
            pytest.fail("it was opened")
    assert path.read_bytes() == b"first"


def test_a_failed_backup_leaves_nothing_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    with pytest.raises(KeyboardInterrupt), written(path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    (tmp_path / "b.tar.part").write_bytes(b"of a killed one, and longer")
    with written(path) as sink:
        sink.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_a_part_that_others_can_read_is_refused(tmp_path: Path) -> None:
    part = tmp_path / "b.tar.part"
    (tmp_path / "second").touch()
    for make in (
        partial(part.symlink_to, tmp_path / "other"),
        partial(part.hardlink_to, tmp_path / "second"),
        partial(os.mkfifo, part),
    ):
        with ExitStack() as stack:
            stack.callback(part.unlink)
            make()
            with pytest.raises(ConfigError), written(tmp_path / "b.tar"):
                pytest.fail("it was opened")


def write(path: Path, pieces: list[bytes], usage: target.Usage) -> None:
    with written(path, usage) as sink:
        for piece in pieces:
            sink.write(piece)


def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    """PostgreSQL may be on the same one, and stops when it is full."""
    free = [200 * PIECE, 80 * PIECE, 40 * PIECE]
    path = tmp_path / "b.tar"
    with pytest.raises(OSError, match="its disk would be full: 40 MB are free") as raised:
        write(path, 3 * [bytes(target.LOOK_EVERY)], lambda _: (1000 * PIECE, free.pop(0)))
    assert raised.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def staged(tmp_path: Path, *, outside: bool) -> tuple[Paths, Journal]:
    """Make a stage that is whole, from an archive."""
    origin, data, notes = tmp_path / "origin", tmp_path / "data", list[str]()
    fill(origin, "homeserver.yaml", "secrets/a", "my/own/file", "media_store/local_content/aa/b")
    (origin / "secrets").chmod(0o700)
    (origin / "my/own/file").chmod(0o640)
    archived(contents(origin, notes), tmp_path / "a.tar")
    (data / "secrets").mkdir(parents=True)
    media = tmp_path / "mount" if outside else data / "media_store"
    if outside:
        media.mkdir()
    paths = Paths(data=str(data), run=str(tmp_path / "run"))
    journal = Journal(state=PLACING, sha256="0" * 64, media=str(media), outside=outside)
    Path(paths.restoring).mkdir()
    with (tmp_path / "a.tar").open("rb") as file:
        stage = Stage(paths, journal, None)
        for header, entry in members(file, ends(file).listing):
            if entry.section not in (manifest.SUMMARY, manifest.DATABASE):
                stage.write(entry, checked(file, header, entry))
        stage.close()
    fill(Path(paths.restoring), "postgres/PG_VERSION")
    restoring.keep(paths, journal)
    return paths, journal


def tree(top: Path) -> dict[str, str]:
    return {
        str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("done", range(6))
def test_placing_goes_on_wherever_it_was_interrupted(
    tmp_path: Path, done: int, *, outside: bool
) -> None:
    paths, journal = staged(tmp_path, outside=outside)
    data, stage, media = Path(paths.data), Path(paths.restoring), Path(journal.media)
    with pytest.raises(ConfigError, match="holds a restore that has not ended"):
        restoring.refuse(paths)
    moves = [(path, data / path.name) for path in sorted((stage / "data").iterdir())]
    moves.append((stage / "postgres", data / "postgres"))
    moves += (
        [(path, media / path.name) for path in (media / ".restoring").iterdir()]
        if outside
        else [(stage / "media", media)]
    )
    assert len(moves) == 5
    for source, place in moves[:done]:
        source.rename(place)
    assert restoring.read(paths) == journal
    restoring.place(paths, journal)
    restoring.refuse(paths)
    expected = {name: name for name in ("homeserver.yaml", "secrets/a", "my/own/file")}
    assert tree(media) == {"local_content/aa/b": "media_store/local_content/aa/b"}
    if not outside:
        expected["media_store/local_content/aa/b"] = "media_store/local_content/aa/b"
    assert tree(data) == {**expected, "postgres/PG_VERSION": "postgres/PG_VERSION"}
    assert (data / "secrets").stat().st_mode & 0o777 == 0o700
    assert (data / "my/own/file").stat().st_mode & 0o777 == 0o640
    assert (data / "my").stat().st_mode & 0o777 == 0o755


def test_a_stage_is_discarded_without_a_trace(tmp_path: Path) -> None:
    paths, journal = staged(tmp_path, outside=True)
    restoring.discard(paths, replace(journal, state=STAGING))
    assert tree(Path(paths.data)) == {}
    assert list(Path(journal.media).iterdir()) == []
    restoring.refuse(paths)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"state": "x", "sha256": "", "media": ""}'])
def test_an_unreadable_journal_is_an_error_with_a_way_out(tmp_path: Path, text: str) -> None:
    paths, _ = staged(tmp_path, outside=False)
    Path(paths.restoring, restoring.JOURNAL).write_text(text)
    with pytest.raises(ConfigError, match=r"fix: remove .*/\.restoring"):
        restoring.read(paths)


def read_all(file: BinaryIO) -> None:
    for header, entry in members(file, ends(file).listing):
        for _ in checked(file, header, entry):
            pass


def test_a_member_that_changed_since_is_not_restored(tmp_path: Path) -> None:
    """Between the check and the restore, others may write to the file."""
    paths, _ = staged(tmp_path, outside=False)
    archive = tmp_path / "a.tar"
    content = archive.read_bytes()
    assert content.count(b"my/own/file") == 3
    at = content.rindex(b"my/own/file", 0, content.rindex(b"my/own/file"))
    archive.write_bytes(content[:at] + b"MY" + content[at + 2 :])
    with archive.open("rb") as file, pytest.raises(Damaged, match="SHA-256"):
        read_all(file)
    assert Path(paths.restoring).exists()
