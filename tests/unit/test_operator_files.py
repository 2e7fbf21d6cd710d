"""The operator's own files: read, never written, and refused where they cannot be obeyed."""

from pathlib import Path

import pytest

from ganglion.routing.operator_routes import load as load_routes
from ganglion.settings.environment import from_environ
from ganglion.settings.operator_files import OperatorFiles, load
from tests.plans import no_file, options, problems, rendered, said


def read(data: Path, **environ: str) -> OperatorFiles:
    return load(from_environ({"GANGLION_DATA": str(data), **environ}, no_file))


def write(data: Path, **files: str) -> None:
    """Files of the data directory: `homeserver` for homeserver.yaml, others for homeserver.d."""
    (data / "homeserver.d").mkdir(exist_ok=True)
    for name, text in files.items():
        place = data if name == "homeserver" else data / "homeserver.d"
        (place / f"{name}.yaml").write_text(text, encoding="utf-8")


def test_no_files(tmp_path: Path) -> None:
    assert read(tmp_path) == read(tmp_path / "missing") == OperatorFiles()


def test_the_order_is_homeserver_yaml_and_then_by_name(tmp_path: Path) -> None:
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


def test_they_are_not_written(tmp_path: Path) -> None:
    write(tmp_path, homeserver="a: 1\n")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in tmp_path.rglob("*")}
    read(tmp_path)
    after = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert after == before


def refused(data: Path, **environ: str) -> list[str]:
    return problems(lambda: read(data, **environ))


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("worker_app", "WORKERS decides which workers there are"),
        ("worker_name", "WORKERS decides which workers there are"),
        ("worker_listeners", "each worker's listeners are made for it"),
        ("notify_appservices", "put appservice into WORKERS instead"),
        ("update_user_directory", "put user_dir into WORKERS instead"),
    ],
)
def test_options_that_cannot_hold_for_all_processes(tmp_path: Path, option: str, why: str) -> None:
    write(tmp_path, extra=f"{option}: x\n")
    assert refused(tmp_path) == [
        said(f"{tmp_path}/homeserver.d/extra.yaml", f"sets {option}", f"take it out; {why}")
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
        ("when: 2026-13-01\n", "cannot be read: month must be in 1..12"),
    ],
)
def test_no_yaml(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, homeserver=text)
    assert refused(tmp_path) == [said(f"{tmp_path}/homeserver.yaml", message, "correct the file")]


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "homeserver.yaml").write_bytes(b"\xff\xfe")
    (only,) = refused(tmp_path)
    assert only == said(
        f"{tmp_path}/homeserver.yaml",
        "cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        "correct the file",
    )


@pytest.mark.parametrize("text", ["- a\n", "text\n", "1\n"])
def test_no_mapping(tmp_path: Path, text: str) -> None:
    write(tmp_path, homeserver=text)
    assert refused(tmp_path) == [
        said(f"{tmp_path}/homeserver.yaml", "is not a mapping of options", "write option: value")
    ]


def test_names_that_supervisord_would_misread(tmp_path: Path) -> None:
    for name in ("a;b", "a%b", "a#b", "ä", "a'b", 'a"b'):
        write(tmp_path, **{name: "a: 1\n"})
    write(tmp_path, **{"plain name_1.2@x+y,z=0-": "a: 1\n"})
    fix = "use letters, digits, spaces and . _ - + = , @ in it"
    assert refused(tmp_path) == [
        said(f"{tmp_path}/homeserver.d/{name}.yaml", "has a name with unusual characters", fix)
        for name in ('a"b', "a#b", "a%b", "a'b", "a;b", "ä")
    ]


def test_another_server_name_than_the_variables(tmp_path: Path) -> None:
    write(tmp_path, homeserver="server_name: other.example\n")
    assert read(tmp_path).options["server_name"] == "other.example"
    assert read(tmp_path, SYNAPSE_SERVER_NAME="other.example").paths
    assert refused(tmp_path, SYNAPSE_SERVER_NAME="example.org") == [
        said(
            "SYNAPSE_SERVER_NAME='example.org'",
            "differs from server_name in the operator's files, 'other.example'",
            "unset the variable, or correct the one that is wrong: it cannot change later",
        )
    ]


def test_a_directory_of_registrations(tmp_path: Path) -> None:
    (tmp_path / "as").mkdir()
    for name in ("b.yaml", "a.yml", "README"):
        (tmp_path / "as" / name).touch()
    found = read(tmp_path, SYNAPSE_AS_REGISTRATION_DIR=f"{tmp_path}/as")
    assert found.registrations == (f"{tmp_path}/as/a.yml", f"{tmp_path}/as/b.yaml")


def test_a_directory_of_registrations_that_is_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path, SYNAPSE_AS_REGISTRATION_DIR=f"{tmp_path}/as") == [
        said(
            f"SYNAPSE_AS_REGISTRATION_DIR='{tmp_path}/as'",
            "cannot be read: No such file or directory",
            "give a directory that holds the registration files of application services",
        )
    ]


def test_registrations_of_both_kinds_are_put_together(tmp_path: Path) -> None:
    operator = OperatorFiles(
        registrations=("/as/a.yaml", "/as/b.yaml"),
        options={"app_service_config_files": ["/own.yaml", "/as/a.yaml"]},
    )
    overrides = options(rendered({}, operator=operator), "synapse/overrides.yaml")
    assert overrides["app_service_config_files"] == ["/own.yaml", "/as/a.yaml", "/as/b.yaml"]
    assert "app_service_config_files" not in options(rendered({}), "synapse/overrides.yaml")
    write(tmp_path, homeserver="app_service_config_files: /own.yaml\n")
    assert refused(tmp_path) == [
        said(
            f"{tmp_path}/homeserver.yaml",
            "sets app_service_config_files to no list",
            "write one, with - FILE",
        )
    ]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, homeserver="worker_app: x\nnotify_appservices: no\n", list="- a\n")
    found = refused(tmp_path, SYNAPSE_AS_REGISTRATION_DIR="/no/such")
    assert [problem.partition(": ")[2].partition("\n")[0] for problem in found] == [
        "sets worker_app",
        "sets notify_appservices",
        "is not a mapping of options",
        "cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("text", "any_locale"),
    [
        ("", False),
        ("database: {name: psycopg2}\n", False),
        ("database: {allow_unsafe_locale: false}\n", False),
        ("database: {allow_unsafe_locale: true}\n", True),
        ("database: nonsense\n", False),
    ],
)
def test_whether_a_database_of_any_locale_is_accepted(
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
def test_a_secret_of_the_operators_takes_the_place_of_ours(option: str) -> None:
    """Synapse refuses two forms of one secret at once."""
    ours = options(rendered({}), "synapse/underrides.yaml")
    assert ours[f"{option}_path"] == f"/run/ganglion/conf/secrets/{option}"
    for form in (option, f"{option}_path"):
        operator = OperatorFiles(options={form: "x"})
        under = options(rendered({}, operator=operator), "synapse/underrides.yaml")
        assert set(ours) - set(under) == {f"{option}_path"}
        assert option not in under


@pytest.mark.parametrize("content", [b"routes: 2026-13-01\n", b"\xff", b"a: [\n"])
def test_routes_that_cannot_be_read_are_told_not_stumbled_over(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "routes.yaml"
    path.write_bytes(content)
    chosen = from_environ({"GANGLION_DATA": str(tmp_path)}, no_file)
    (problem,) = problems(lambda: load_routes(chosen, None))
    assert problem.startswith(f"{path}: cannot be read: ")
    assert problem.endswith("\n    fix: correct the file")
