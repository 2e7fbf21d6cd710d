"""Bad input is an error with a message: no traceback, no long wait, nothing written."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganglion.data.file_access import NamedPath, Use
from ganglion.data.identity import read
from ganglion.data.usable_files import usable
from ganglion.machine.acting import acting_as
from ganglion.plan import assemble, read_variables
from ganglion.settings import bounded_yaml, operator_files, parsers
from ganglion.settings.existing_database import adopt
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import LARGEST_SECRET, LARGEST_YAML, parse_json, read_text
from ganglion.settings.variables import variables
from tests.plans import problems, said, settings

LONG = "a" * 256
# Each is refused, with the beginning of the message.
REFUSED_YAML = {
    "[" * 50_000: "it is nested more than 100 levels deep",
    "{a: " * 50_000: "it is nested more than 100 levels deep",
    "- " * 50_000: "it is nested more than 100 levels deep",
    "a: &a [*a]": "the alias *a is inside of its own value",
    "a: &a {b: {c: *a}}": "the alias *a is inside of its own value",
    "".join(
        ["a0: &a0 [x, x]\n", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))]
    ): "it has more than 100000 values, with those that aliases repeat",
    "".join(
        [
            "a0: &a0 {x: 1}\n",
            *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30)),
        ]
    ): "it has more than 100000 values, with those that aliases repeat",
    "- a\n" * 100_001: "it has more than 100000 values, with those that aliases repeat",
    "a: " + "1" * 5000: "a number has more than 100 characters",
    "a: 1" + ":1" * 50_000: "a number has more than 100 characters",
    'a: "\\ud800"': "a text has half of a surrogate pair, which no program can write",
    '"\\udfff": a': "a text has half of a surrogate pair, which no program can write",
    '!!int ""': "a value is not of the type int",
    '!!float ""': "a value is not of the type float",
    "!!bool x": "a value is not of the type bool",
    "!!timestamp x": "a value is not of the type timestamp",
    "2026-13-01": "a value is not of the type timestamp",
    '!!binary "é"': "failed to convert base64 data into ascii",
    "? [a]\n: b": "while constructing a mapping",
    "? {}\n: b": "while constructing a mapping",
    "a: b\n---\nc: d": "expected a single document",
    "!!python/object/apply:os.system [id]": "could not determine a constructor",
}


@pytest.mark.parametrize("text", REFUSED_YAML, ids=lambda text: text[:20].replace("\n", "|"))
def test_yaml_that_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError) as found:
        bounded_yaml.load(text)
    assert str(found.value).startswith(REFUSED_YAML[text])


def test_yaml_as_operators_write_it() -> None:
    text = "a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, y: 2}\nc: [*a, *a]\nd: 2026-01-01\n"
    assert bounded_yaml.load(text) == yaml.safe_load(text)
    deepest = "[" * 100 + "]" * 100
    assert bounded_yaml.load(deepest) == yaml.safe_load(deepest)
    assert bounded_yaml.load("- a\n" * 99_999) == ["a"] * 99_999
    assert bounded_yaml.load("") is None


def test_json_that_is_nested_deeply() -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000):
        with pytest.raises(ValueError, match="it is nested too deeply"):
            parse_json(text)


def test_files_that_are_not_read(tmp_path: Path) -> None:
    large, fifo = tmp_path / "large", tmp_path / "fifo"
    large.write_bytes(b"x" * 101)
    assert read_text(large, 101) == "x" * 101
    os.mkfifo(fifo)
    link = tmp_path / "link"
    link.symlink_to(large)
    for path, message, follow in (
        (large, "it is larger than 100 bytes, the most that is read", True),
        (fifo, "it is not a regular file", True),
        ("/dev/zero", "it is not a regular file", True),
        (tmp_path, "Is a directory", True),
        (link, "Too many levels of symbolic links", False),
        (f"{tmp_path}/{LONG}", "the path has a part of more than 255 bytes", True),
        (f"/{'é' * 128}", "the path has a part of more than 255 bytes", True),
        ("/a" * 2048, "the path is longer than 4095 bytes", True),
        ("/a\0b", "the path contains a NUL character", True),
    ):
        with pytest.raises(OSError) as found:  # noqa: PT011 - the message is compared below
            read_text(path, 100, follow=follow)
        assert found.value.strerror == message


PATHS = [row.name for _, row in variables() if row.parse is parsers.absolute_path]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"/{LONG}", "has a part of more than 255 characters"),
        (f"/x/{LONG}/y", "has a part of more than 255 characters"),
        ("/a" * 2500, "is longer than 900 characters"),
        ("/a" * 451, "is longer than 900 characters"),
        ("/a\0b", "is not an absolute path of plain characters"),
    ],
)
def test_variables_that_name_a_path(name: str, path: str, message: str) -> None:
    # The environment of a process holds no NUL, but that of a test does.
    assert any(
        f": {message}\n" in problem for problem in problems(lambda: settings(**{name: path}))
    )


def test_a_secrets_file_of_any_size(tmp_path: Path) -> None:

    secret = tmp_path / "secret"
    secret.write_text("x" * (LARGEST_SECRET + 1))
    for path, reason in (
        (str(secret), f"it is larger than {LARGEST_SECRET} bytes, the most that is read"),
        ("/dev/zero", "it is not a regular file"),
        (f"/{LONG}", "the path has a part of more than 255 bytes"),
    ):
        (problem,) = problems(partial(read_variables, {"SYNAPSE_FORM_SECRET_FILE": path}))
        assert f"cannot be read: {reason}\n" in problem


def loaded(data: Path, text: str) -> list[str]:
    (data / "homeserver.yaml").write_text(text)
    return problems(lambda: operator_files.load(settings(GANGLION_DATA=str(data))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app_service_config_files: [{a: b}]", "has an item of app_service_config_files that is"),
        ("app_service_config_files: [[x]]", "has an item of app_service_config_files that is"),
        ("app_service_config_files: [1]", "has an item of app_service_config_files that is"),
        ("app_service_config_files: {a: b}", "sets app_service_config_files to something other"),
        ("modules: [x]", "has an item of modules that is not a mapping"),
        ("modules: [[x]]", "has an item of modules that is not a mapping"),
        ("#" * (LARGEST_YAML + 1), f"it is larger than {LARGEST_YAML} bytes, the most"),
        ("a: " + "[" * 50_000, "it is nested more than 100 levels deep"),
    ],
    ids=lambda value: value[:30],
)
def test_operators_files(tmp_path: Path, text: str, message: str) -> None:
    (problem,) = loaded(tmp_path, text)
    assert message in problem


def test_names_of_options_that_are_no_text(tmp_path: Path) -> None:
    assert loaded(tmp_path, "1: x\nnull: y\ntrue: z\n2026-01-01: a\nreport_stats: no\n") == []


def test_paths_in_options(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {
        "signing_key_path": "\0",
        "email": {"template_dir": f"/{LONG}"},
        "media_store_path": "/a" * 3000,
        "tls_private_key_path": "x\ud800",
    }
    found = problems(lambda: usable(OperatorFiles(options=wrong), None, print, make=True))
    assert [problem.partition("\n")[0].rpartition(": ")[2] for problem in found] == [
        "the path contains a NUL character",
        "the path has a part of more than 255 bytes",
        "the path is longer than 4095 bytes",
        "the path contains a character that no path can have",
    ]
    assert NamedPath(option="x", path="/", use=Use.READ_FILE).path == "/"
    files = OperatorFiles(options={"database": {"name": "sqlite3", "args": {"database": LONG}}})
    (problem,) = problems(lambda: adopt(settings(GANGLION_DATA=str(tmp_path)), files))
    assert "names an SQLite file, but the path has a part of more than 255 bytes" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "is not JSON: it is nested too deeply"),
        (b"x" * (1024**2 + 1), "it is larger than 1048576 bytes, the most that is read"),
        (b"\xff", "cannot be read: 'utf-8' codec"),
        (b'{"format": 1, "server_name": ["a"]}', "has server_name ['a'], which is not a text"),
    ],
)
def test_server_json(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "server.json").write_bytes(content)
    (problem,) = problems(lambda: read(settings(GANGLION_DATA=str(tmp_path)).paths))
    assert message in problem


CLOSED = (
    ("data", "GANGLION_DATA", "homeserver.yaml"),
    ("data/homeserver.d", "GANGLION_DATA", "homeserver.d"),
    ("data/postgres", "GANGLION_DATA", "postgres/PG_VERSION"),
    ("conf", "SYNAPSE_CONFIG_DIR", "homeserver.yaml"),
    ("conf/homeserver.d", "SYNAPSE_CONFIG_DIR", "homeserver.d"),
)


@pytest.mark.parametrize(("closed", "variable", "file"), CLOSED)
def test_a_directory_that_this_account_may_not_enter(
    short_path: Path, closed: str, variable: str, file: str
) -> None:
    """Its files must not pass for missing ones."""
    for name in ("data/homeserver.d", "data/postgres", "conf/homeserver.d"):
        (short_path / name).mkdir(parents=True)
    short_path.chmod(0o755)
    (short_path / closed).chmod(0)
    directory = short_path / ("data" if variable == "GANGLION_DATA" else "conf")
    environ = {"GANGLION_DATA": f"{short_path}/data", "SYNAPSE_CONFIG_DIR": f"{short_path}/conf"}
    with acting_as("nobody" if os.geteuid() == 0 else None):
        (problem,) = problems(lambda: assemble(environ))
    assert problem.startswith(
        f"{variable}={str(directory)!r}: {directory}/{file} cannot be read: Permission denied\n"
    )
    (short_path / closed).chmod(0o755)


@pytest.mark.parametrize("path", ["/dev/null/x", "/dev/null", "/etc/passwd"])
def test_a_data_directory_that_is_none(path: str) -> None:
    (problem,) = problems(lambda: assemble({"GANGLION_DATA": path}))
    fix = "give a directory, or a path at which one can be made"
    assert problem == said(f"GANGLION_DATA={path!r}", "is not a directory", fix)
