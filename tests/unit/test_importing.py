"""An import of odd files, and the names of workers for any old installation."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.cli.main import main
from ganglion.errors import ConfigError
from ganglion.importing.findings import OldFile, OldServer, OldWorker
from ganglion.importing.imported import interpret
from ganglion.importing.keys import IN_WORKERS
from ganglion.importing.names import name_workers
from ganglion.importing.report import as_json, as_text
from ganglion.importing.sources import find
from ganglion.importing.synapse_options import KNOWN
from ganglion.importing.units import config_paths
from ganglion.settings.owned_options import BY_OPTION
from ganglion.settings.reading import LARGEST_YAML
from ganglion.topology.workers_syntax import parse_workers

ROLE_SETS = (("event_persister",), ("federation_sender",), ("synchrotron", "login"))
NAMES = st.one_of(
    st.builds(
        "{}{}".format,
        st.sampled_from(["a", "b-", "a_federation_sender", "generic_worker", "9x", "medium", "ü "]),
        st.integers(0, 4),
    ),
    st.text(min_size=1, max_size=70),
    st.sampled_from(["sender", "small", "auto", "a-b-c", "worker_", "-", "1", "01"]),
)


@st.composite
def installations(
    draw: st.DrawFn,
) -> tuple[list[OldWorker], dict[str, tuple[str, ...]]]:
    """Workers with any names, and the lists of those that share work, in any order."""
    names = draw(st.lists(NAMES, max_size=8, unique=True))
    workers = [
        OldWorker(name=name, source="", roles=draw(st.sampled_from(ROLE_SETS))) for name in names
    ]
    lists = {}
    for role in ("event_persister", "federation_sender"):
        members = [worker.name for worker in workers if role in worker.roles]
        if len(members) > 1:
            lists[role] = tuple(draw(st.permutations(members)))
    return workers, lists


@given(installations())
def test_names_are_valid_and_no_work_moves(
    given: tuple[list[OldWorker], dict[str, tuple[str, ...]]],
) -> None:
    workers, lists = given
    named = name_workers(workers, lists)
    parsed = parse_workers(named.text)
    assert parsed.problems == ()
    roles = {
        f"{entry.name}{number}": entry.roles
        for entry in parsed.entries
        for number in range(1, entry.count + 1)
    }
    assert len(roles) == len(workers)
    assert {named.names[worker.name]: worker.roles for worker in workers} == roles
    # No worker goes on from the position of another one.
    assert all(new == old or new not in named.names for old, new in named.names.items())
    # These workers have one list each, so the order of each list can always stay.
    assert named.notes == ()
    for members in lists.values():
        new = [named.names[old] for old in members]
        assert sorted(new, key=list(roles).index) == new


def test_names_stay_where_workers_can_have_them() -> None:
    workers = [
        OldWorker(name=f"{base}{number}", source="", roles=(role,))
        for base, role in (("persister", "event_persister"), ("fs-", "federation_sender"))
        for number in (1, 2, 3)
    ]
    lists = {"federation_sender": ("fs-1", "fs-2", "fs-3")}
    named = name_workers(workers, lists)
    assert all(old == new for old, new in named.names.items())


def test_two_lists_that_contradict_each_other_are_noted() -> None:
    both = ("federation_sender", "pusher")
    workers = [OldWorker(name=name, source="", roles=both) for name in ("a1", "b1", "a2")]
    lists = {"federation_sender": ("a1", "b1", "a2"), "pusher": ("a2", "b1", "a1")}
    (note,) = name_workers(workers, lists).notes
    assert note.startswith("the order of the pusher workers changes to a1, b1, ")


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        find([path])
    (found,) = raised.value.problems
    return found.message


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    pipe, huge, empty = tmp_path / "pipe.yaml", tmp_path / "huge.yaml", tmp_path / "empty.yaml"
    os.mkfifo(pipe)
    huge.write_bytes(b"a: b\n" * (LARGEST_YAML // 5 + 1))
    empty.write_text("")
    assert problem(pipe) == "cannot be read: it is not a regular file"
    assert problem(huge).startswith(f"cannot be read: it is larger than {LARGEST_YAML} bytes")
    # Its owner cannot read it either.
    assert problem(Path("/proc/self/mem")).startswith("cannot be read: ")
    assert problem(empty).startswith("no homeserver.yaml with a server_name")
    assert problem(Path("/" + "x" * 300)) == "the path has a part of more than 255 bytes"
    assert problem(Path("a\0b")) == "the path contains a NUL character"


def test_a_directory_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "homeserver.yaml").write_text("server_name: example.org\n")
    (tmp_path / "conf").symlink_to(tmp_path)
    (tmp_path / "config").symlink_to("config")
    assert len(find([tmp_path]).shared) == 1


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    for number in range(501):
        (tmp_path / f"{number}.yaml").write_text("{}\n")
    assert problem(tmp_path) == "has more than 500 YAML files"


def test_all_problems_of_all_paths_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path in paths:
        path.write_text("[")
    assert main(["import", *map(str, paths), str(tmp_path / "c")], {}) == 2
    assert capsys.readouterr().err.startswith("ganglion: 3 problems\n")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a1", "main", "client", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["names", "resources", "type", "port", "name", "args", "host"]), inner
        )
    ),
    max_leaves=6,
)
OPTIONS = st.dictionaries(st.sampled_from(sorted({*KNOWN, *BY_OPTION, "no_option"})), VALUES)


@given(
    shared=OPTIONS,
    decisive=st.dictionaries(
        st.sampled_from(sorted(IN_WORKERS | {"listeners", "database"})), VALUES
    ),
    worker=OPTIONS | st.fixed_dictionaries({"worker_listeners": VALUES, "stream_writers": VALUES}),
)
def test_values_of_any_type_are_taken_or_refused(
    shared: dict[str, object], decisive: dict[str, object], worker: dict[str, object]
) -> None:
    main_file = OldFile(path="m", options={**shared, **decisive, "server_name": "a.org"})
    app = {"worker_app": "synapse.app.generic_worker", "worker_name": "a1"}
    server = OldServer(shared=(main_file,), workers=(OldFile(path="w", options={**worker, **app}),))
    try:
        found = interpret(server)
    except ConfigError as error:
        assert all(item.message and item.hint for item in error.problems)  # noqa: PT017
        return
    assert len(found.findings) == len(main_file.options) + len(server.workers[0].options)
    json.dumps(as_json(found))
    as_text(found)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python -m synapse.app.homeserver --config-path /a -c /b --config-file=/c", "/a /b /c"),
        ("synctl start", ""),
        ("python -c", ""),
    ],
)
def test_paths_in_a_command(command: str, expected: str) -> None:
    assert list(config_paths(command.split())) == expected.split()
