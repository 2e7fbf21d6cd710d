"""Restores that are refused: all problems at once, and nothing is written."""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ganglion.cli.progress import Bar
from ganglion.data.backup import restore as module
from ganglion.data.backup import verify
from ganglion.data.backup.restore import Request, restore
from ganglion.errors import ConfigError
from ganglion.machine import installed
from ganglion.programs.postgres import dump
from ganglion.programs.postgres.client import Client, Failed
from ganglion.programs.synapse import schema
from tests.backups import MEMBERS, SUMMARY, Member, build
from tests.plans import settings

MB = 1024**2
EMBEDDED: Mapping[str, str] = {}
EXTERNAL = {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD": "p"}


def program(directory: Path, name: str, *lines: str) -> None:
    path = directory / name
    path.write_text("\n".join(["#!/bin/sh", "PATH=/usr/bin:/bin", *lines]))
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Programs that claim to be those of PostgreSQL 15. Their pg_restore reads any dump."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program(directory, "pg_dump", "echo 'pg_dump (PostgreSQL) 15.3'")
    program(directory, "pg_restore", "cat")
    return directory


def request(
    programs: Path,
    archive: bytes,
    media: Path | None = None,
    environ: Mapping[str, str] = EMBEDDED,
) -> Request:
    path = programs.parent / "backup.tar"
    path.write_bytes(archive)
    places = {name: str(programs.parent / name.lower()) for name in ("DATA", "RUN")}
    variables = {f"GANGLION_{name}": place for name, place in places.items()}
    return Request(
        path=path,
        settings=settings(**variables, **environ),
        machine=installed.TYPICAL,
        client=Client(programs=str(programs), dsn=""),
        media=media,
        say=lambda _: None,
        progress=lambda _part, _done: None,
    )


def refusals(asked: Request) -> list[str]:
    """Return the problems of a restore that writes nothing."""
    data = Path(asked.settings.data)
    before = sorted(data.rglob("*")) if data.exists() else None
    with pytest.raises(ConfigError) as raised:
        restore(asked)
    assert (sorted(data.rglob("*")) if data.exists() else None) == before
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        build()[:-1],
        build() + b"\0",
        build([MEMBERS[0], Member(path="data/../../escaped")]),
        build([MEMBERS[0], MEMBERS[1].listed(sha256="0" * 64)]),
        build(summary=replace(SUMMARY, media="../../etc")),
        build(summary=replace(SUMMARY, media="postgres")),
        build(summary=replace(SUMMARY, media="")),
        build(summary=replace(SUMMARY, media="homeserver.yaml")),
        build(summary=replace(SUMMARY, media="homeserver.yaml/media")),
        build(summary=replace(SUMMARY, media="secrets")),
        build(summary=replace(SUMMARY, media="secrets/form_secret/x")),
        build(summary=replace(SUMMARY, media="media\0store")),
    ],
)
def test_a_bad_archive_is_refused_with_nothing_written(programs: Path, archive: bytes) -> None:
    assert refusals(request(programs, archive))


def test_all_that_does_not_fit_is_named_together(programs: Path) -> None:
    archive = build(
        summary=replace(
            SUMMARY,
            compatible=schema.installed() + 1,
            dump=18,
            kind="external",
            test_mode=True,
            media="/mnt/media",
        )
    )
    said = "\n".join(
        refusals(request(programs, archive, environ={"SYNAPSE_SERVER_NAME": "other.org"}))
    )
    for part in (
        f"this one has {schema.installed()}\n    fix: use the Ganglion that made it, 0.1.0,",
        "pg_dump 18, and pg_restore 15 cannot read it\n    fix: apt-get install postgresql-18",
        "was made in test mode\n    fix: set GANGLION_TEST_MODE=yes",
        "SYNAPSE_SERVER_NAME='other.org': is of the server example.org",
        "external PostgreSQL server\n    fix: make an empty database and set POSTGRES_HOST",
        "at /mnt/media\n    fix: name an empty directory for it: --media /mnt/media",
    ):
        assert part in said, part


def test_names_of_an_embedded_database_have_to_be_the_same(programs: Path) -> None:
    """The start would refuse others, and the role could be PostgreSQL's administrator."""
    said = refusals(request(programs, build(summary=replace(SUMMARY, name="x", role="postgres"))))
    assert said == [
        "POSTGRES_DB='synapse': is 'x' in the backup\n    fix: set POSTGRES_DB=x",
        "POSTGRES_USER='synapse': is 'postgres' in the backup\n    fix: set POSTGRES_USER=postgres",
    ]


def test_an_embedded_database_does_not_go_to_an_external_server(programs: Path) -> None:
    (said,) = refusals(request(programs, build(), environ=EXTERNAL))
    assert (
        "holds the database of an embedded PostgreSQL server\n    fix: unset POSTGRES_HOST" in said
    )


@pytest.mark.parametrize("name", ["homeserver.yaml", "postgres", "media_store", ".hidden"])
def test_a_directory_that_is_not_empty_is_refused(programs: Path, name: str) -> None:
    data = programs.parent / "data"
    (data / name).mkdir(parents=True)
    (said,) = refusals(request(programs, build()))
    assert said == (
        f"GANGLION_DATA='{data}': is not empty: it holds '{name}'\n"
        "    fix: restore into an empty directory"
    )


def test_entries_of_a_file_system_and_of_scripts_count_as_none(programs: Path) -> None:
    data = programs.parent / "data"
    for name in ("lost+found", ".up", "run", "secrets"):
        (data / name).mkdir(parents=True)
    asked = request(programs, build())
    asked = replace(asked, settings=replace(asked.settings, run=str(data / "run")))
    assert list(module.not_empty(asked)) == []
    (data / "secrets" / "kept").touch()
    assert len(list(module.not_empty(asked))) == 1


def test_a_run_directory_in_the_data_directory_is_no_place_for_files(programs: Path) -> None:
    asked = request(programs, build([MEMBERS[0], Member(path="data/run/conf/x")]))
    run = f"{asked.settings.data}/run"
    (said,) = refusals(replace(asked, settings=replace(asked.settings, run=run)))
    assert "has 'data/run/conf/x', where GANGLION_RUN is" in said


def test_a_media_directory_that_is_not_empty_is_refused(programs: Path, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "x").touch()
    archive = build(summary=replace(SUMMARY, media="/mnt/media"))
    (said,) = refusals(request(programs, archive, media))
    assert said.startswith(f"--media='{media}': is not empty: it holds 'x'")


def test_the_room_is_that_which_is_needed_and_not_that_which_is_claimed(programs: Path) -> None:
    """A dump says nothing of its size that could be believed."""
    program(programs, "pg_restore", "cat > /dev/null", f"head -c {200 * MB} /dev/zero")
    members = [Member(path="database/000000", content=bytes(2 * MB)), *MEMBERS[1:]]
    asked = request(programs, build(members, replace(SUMMARY, database_size=1)))
    with asked.path.open("rb") as file:
        needed = module.needed(asked, file, verify.verify(asked.path, file, asked.progress))
    size = needed[Path(asked.settings.data)]
    assert size == 200 * MB * 5 // 4 + module.CLUSTER + 21 + 1400
    huge = build(members, replace(SUMMARY, database_size=1 << 60))
    (said,) = refusals(request(programs, huge))
    assert "MB free, and the restore needs 1" in said


def test_a_dump_that_bursts_is_refused(programs: Path) -> None:
    program(programs, "pg_restore", "cat > /dev/null &", "cat /dev/zero")
    (said,) = refusals(request(programs, build()))
    assert "has a dump that cannot be read: the dump becomes more than 200 times its size" in said


def test_a_dump_that_cannot_be_read_is_refused(programs: Path) -> None:
    program(programs, "pg_restore", "echo some reason >&2", "exit 1")
    (said,) = refusals(
        request(programs, build([Member(path="database/000000", content=bytes(MB))]))
    )
    assert "has a dump that cannot be read: pg_restore failed: some reason" in said


def measured(programs: Path, pieces: Iterable[bytes], most: Callable[[int], int]) -> int:
    return dump.measure(Client(programs=str(programs), dsn=""), pieces, most)


def test_a_dump_is_measured_in_pieces_and_within_its_limit(programs: Path) -> None:
    pieces = [b"x" * 300_000] * 20
    assert measured(programs, pieces, dump.growth) == 6_000_000
    with pytest.raises(Failed, match="becomes more than"):
        measured(programs, pieces, lambda _: 5_000_000)
    assert dump.growth(0) < 100 * MB
    assert dump.growth(MB) > 200 * MB


def test_a_filled_external_database_is_not_filled_again(programs: Path, tmp_path: Path) -> None:
    """A restore that was killed after the transaction, and before it said so."""
    log = tmp_path / "statements"
    program(programs, "psql", f'echo "$*" >> {log}', "echo t")
    program(programs, "pg_restore", "exit 1")
    archive = build(summary=replace(SUMMARY, kind="external"))
    asked = request(programs, archive, environ=EXTERNAL)
    with asked.path.open("rb") as file:
        found = verify.verify(asked.path, file, asked.progress)
        module.fill_external(asked, file, found)
    assert "DELETE FROM remote_media_cache WHERE quarantined_by IS NULL" in log.read_text()


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_the_bar_is_on_a_terminal_alone() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        bar = Bar(100 * MB, stream)
        bar.show("media", 25 * MB)
        bar.close()
    shown = terminal.getvalue()
    assert "[######..................]  25% media: 25 MB of about 100" in shown
    assert shown.endswith("\r")
    assert pipe.getvalue() == ""
