"""The operator's own files are read, never written, and rejected if they cannot be applied."""

import os
from pathlib import Path

import pytest

from ganglion.settings.environment import from_environ
from ganglion.settings.operator_files import OperatorFiles, load
from tests.plans import no_file, options, problems, rendered, said


def read(data: Path, **environ: str) -> OperatorFiles:
    return load(from_environ({"GANGLION_DATA": str(data), **environ}, no_file))


def write(data: Path, **files: str) -> None:
    """Write files: `homeserver` to homeserver.yaml, others to homeserver.d."""
    (data / "homeserver.d").mkdir(exist_ok=True)
    for name, text in files.items():
        place = data if name == "homeserver" else data / "homeserver.d"
        (place / f"{name}.yaml").write_text(text, encoding="utf-8")


def test_without_files_there_are_no_options(tmp_path: Path) -> None:
    assert read(tmp_path) == read(tmp_path / "missing") == OperatorFiles()


def test_homeserver_yaml_comes_first_and_the_others_follow_by_name(tmp_path: Path) -> None:
    write(tmp_path, z="a: z\nz: 1\n", homeserver="a: h\nh: 1\n", b="a: b\n", empty="# nothing\n")
    (tmp_path / "homeserver.d" / "a.yml").write_text("not: read\n")
    (tmp_path / "homeserver.d" / "deep.yaml").mkdir()
    found = read(tmp_path)
    extra = tmp_path / "homeserver.d"
    assert found.paths == tuple(
        str(path)
        for path in (
            tmp_path / "homeserver.yaml",
            extra / "b.yaml",
            extra / "empty.yaml",
            extra / "z.yaml",
        )
    )
    assert dict(found.options) == {"a": "z", "h": 1, "z": 1}


def test_files_are_not_written(tmp_path: Path) -> None:
    write(tmp_path, homeserver="a: 1\n")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in tmp_path.rglob("*")}
    read(tmp_path)
    after = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert after == before


def rejected(data: Path, **environ: str) -> list[str]:
    return problems(lambda: read(data, **environ))


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("worker_app", "WORKERS decides which workers run"),
        ("worker_name", "WORKERS decides which workers run"),
        ("worker_listeners", "the listeners of each worker are generated"),
        ("notify_appservices", "add the role appservice to WORKERS instead"),
        ("worker_replication_port", "Synapse rejects it; the processes replicate over Redis"),
        ("update_user_directory", "add the role user_dir to WORKERS instead"),
    ],
)
def test_options_of_a_single_process_are_rejected(tmp_path: Path, option: str, why: str) -> None:
    write(tmp_path, extra=f"{option}: x\n")
    assert rejected(tmp_path) == [
        said(f"{tmp_path}/homeserver.d/extra.yaml", f"sets {option}", f"remove it; {why}")
    ]


UNCLOSED = """\
cannot be read: while parsing a flow sequence
  in "<unicode string>", line 1, column 4:
    a: [1
       ^
expected ',' or ']', but got '<stream end>'
  in "<unicode string>", line 2, column 1:
   \x20
    ^"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", UNCLOSED),
        (
            "when: 2026-13-01\n",
            (
                "cannot be read: a value is not of the type timestamp\n"
                '  in "<unicode string>", line 1, column 7:\n'
                "    when: 2026-13-01\n"
                "          ^"
            ),
        ),
    ],
)
def test_a_file_that_is_not_yaml(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, homeserver=text)
    assert rejected(tmp_path) == [said(f"{tmp_path}/homeserver.yaml", message, "correct the file")]


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "homeserver.yaml").write_bytes(b"\xff\xfe")
    (only,) = rejected(tmp_path)
    assert only == said(
        f"{tmp_path}/homeserver.yaml",
        "cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        "correct the file",
    )


@pytest.mark.parametrize("place", ["homeserver.yaml", "homeserver.d/a.yaml"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("directory", "Is a directory"),
        ("fifo", "it is not a regular file"),
        ("lost link", "No such file or directory"),
        ("circle", "Too many levels of symbolic links"),
        ("device", "it is not a regular file"),
    ],
)
def test_other_things_than_files_are_not_passed_over(
    tmp_path: Path, place: str, kind: str, message: str
) -> None:
    """A mount that failed leaves such things in place of the operator's options."""
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    if kind == "directory" and path.parent.name == "homeserver.d":
        # Synapse passes these over.
        path.mkdir()
        assert read(tmp_path).paths == ()
        return
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to({"lost link": "gone", "circle": path.name, "device": "/dev/zero"}[kind])
    assert rejected(tmp_path) == [said(str(path), f"cannot be read: {message}", "correct the file")]


@pytest.mark.parametrize("text", ["- a\n", "text\n", "1\n"])
def test_a_file_that_is_not_a_mapping(tmp_path: Path, text: str) -> None:
    write(tmp_path, homeserver=text)
    assert rejected(tmp_path) == [
        said(
            f"{tmp_path}/homeserver.yaml",
            "is not a mapping of options",
            "write it as lines of `option: value`",
        )
    ]


def test_names_that_supervisord_would_misread_are_rejected(tmp_path: Path) -> None:
    for name in ("a;b", "a%b", "a#b", "ä", "a'b", 'a"b'):
        write(tmp_path, **{name: "a: 1\n"})
    write(tmp_path, **{"plain name_1.2@x+y,z=0-": "a: 1\n"})
    fix = "use only letters, digits, spaces and . _ - + = , @"
    assert rejected(tmp_path) == [
        said(
            f"{tmp_path}/homeserver.d/{name}.yaml", "has an unsupported character in its name", fix
        )
        for name in ('a"b', "a#b", "a%b", "a'b", "a;b", "ä")
    ]


def test_a_server_name_that_differs_from_the_variable_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, homeserver="server_name: other.example\n")
    assert read(tmp_path).options["server_name"] == "other.example"
    assert read(tmp_path, SYNAPSE_SERVER_NAME="other.example").paths
    assert rejected(tmp_path, SYNAPSE_SERVER_NAME="example.org") == [
        said(
            "SYNAPSE_SERVER_NAME='example.org'",
            "differs from server_name in your files, 'other.example'",
            "unset SYNAPSE_SERVER_NAME or correct the wrong name: it cannot change later",
        )
    ]


def test_a_directory_of_registrations(tmp_path: Path) -> None:
    (tmp_path / "as").mkdir()
    for name in ("b.yaml", "a.yml", "README"):
        (tmp_path / "as" / name).touch()
    found = read(tmp_path, SYNAPSE_AS_REGISTRATION_DIR=f"{tmp_path}/as")
    assert found.registrations == (f"{tmp_path}/as/a.yml", f"{tmp_path}/as/b.yaml")


def test_a_missing_directory_of_registrations(tmp_path: Path) -> None:
    assert rejected(tmp_path, SYNAPSE_AS_REGISTRATION_DIR=f"{tmp_path}/as") == [
        said(
            f"SYNAPSE_AS_REGISTRATION_DIR='{tmp_path}/as'",
            "cannot be read: No such file or directory",
            "give a directory with the registration files of application services",
        )
    ]


def test_registrations_of_both_sources_are_merged(tmp_path: Path) -> None:
    operator = OperatorFiles(
        registrations=("/as/a.yaml", "/as/b.yaml"),
        options={"app_service_config_files": ["/own.yaml", "/as/a.yaml"]},
    )
    overrides = options(rendered({}, operator=operator), "synapse/overrides.yaml")
    assert overrides["app_service_config_files"] == ["/own.yaml", "/as/a.yaml", "/as/b.yaml"]
    assert "app_service_config_files" not in options(rendered({}), "synapse/overrides.yaml")
    write(tmp_path, homeserver="app_service_config_files: /own.yaml\n")
    assert rejected(tmp_path) == [
        said(
            f"{tmp_path}/homeserver.yaml",
            "sets app_service_config_files to something other than a list",
            "write a list with a line `- FILE` for each",
        )
    ]


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, homeserver="worker_app: x\nnotify_appservices: no\n", list="- a\n")
    found = rejected(tmp_path, SYNAPSE_AS_REGISTRATION_DIR="/no/such")
    assert [problem.partition(": ")[2].partition("\n")[0] for problem in found] == [
        "is not a mapping of options",
        "sets worker_app",
        "sets notify_appservices",
        "cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("text", "any_locale"),
    [
        ("", False),
        ("database: {name: psycopg2}\n", False),
        ("database: {allow_unsafe_locale: false}\n", False),
        ("database: {allow_unsafe_locale: true}\n", True),
    ],
)
def test_allow_unsafe_locale_is_passed_on(
    tmp_path: Path,
    text: str,
    any_locale: bool,  # noqa: FBT001 - a column of the table
) -> None:
    write(tmp_path, homeserver=text)
    operator = read(tmp_path)
    assert operator.any_locale is any_locale
    database = options(rendered({}, operator=operator), "synapse/overrides.yaml")["database"]
    assert database.get("allow_unsafe_locale", False) is any_locale


@pytest.mark.parametrize(
    "option",
    [
        "macaroon_secret_key",
        "form_secret",
        "registration_shared_secret",
        "worker_replication_secret",
    ],
)
def test_a_secret_in_the_operators_files_replaces_the_generated_one(option: str) -> None:
    """Synapse rejects two forms of the same secret."""
    ours = options(rendered({}), "synapse/underrides.yaml")
    assert ours[f"{option}_path"] == f"/run/ganglion/conf/secrets/{option}"
    for form in (option, f"{option}_path"):
        operator = OperatorFiles(options={form: "x"})
        under = options(rendered({}, operator=operator), "synapse/underrides.yaml")
        assert set(ours) - set(under) == {f"{option}_path"}
        assert option not in under
