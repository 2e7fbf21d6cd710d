"""`ganglion import` of pipes, devices, bombs and the like: an error, and nothing is written.

Each case would hang, take all memory or end with a traceback if it were read as it comes. The limit
of time ends a test that hangs; it judges no speed.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ganglion.cli.main import main
from ganglion.errors import ConfigError
from ganglion.importing import writing
from ganglion.importing.layout import Copy, Layout
from ganglion.importing.looking import matching
from ganglion.settings.reading import LARGEST_FILE, LARGEST_YAML

pytestmark = pytest.mark.timeout(120)

SERVER = "server_name: example.org\nreport_stats: false\nsigning_key: ed25519 a_x AAAA\n"
UNIT = "[Service]\nExecStart=/usr/bin/python -m synapse.app.homeserver --config-path={}\n"
STACK = """\
services:
  synapse:
    image: matrixdotorg/synapse
    volumes: ["{}:/data"]
"""
NGINX = "server {{ location / {{ proxy_pass http://127.0.0.1:8008; }} }}\n{}\n"
LONG = "x" * 300
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]\n" for number in range(1, 10)
)

# Makes files in a directory, and returns the arguments of the import.
Make = Callable[[Path], list[str]]


def put(path: Path, content: str | bytes) -> str:
    """Write a file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def fifo(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return str(path)


def link(path: Path, target: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(str(target))
    return str(path)


def directory(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def listening(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return str(path)


def server(place: Path, *lines: str) -> str:
    """Write a homeserver.yaml with further options."""
    return put(place / "homeserver.yaml", SERVER + "".join(f"{line}\n" for line in lines))


def unit(place: Path, config: object) -> str:
    return put(place / "synapse.service", UNIT.format(config))


def stack(place: Path, mounted: str = ".", env: Callable[[Path], object] | None = None) -> str:
    server(place)
    if env is not None:
        env(place / ".env")
    return put(place / "compose.yaml", STACK.format(mounted))


def proxy(place: Path, text: str) -> list[str]:
    return [server(place), "--nginx", put(place / "nginx.conf", NGINX.format(text))]


NOT_REGULAR = "it is not a regular file"
CASES: dict[str, tuple[Make, str]] = {
    "pipe": (lambda p: [fifo(p / "a.yaml")], NOT_REGULAR),
    "pipe in a directory": (
        lambda p: [str(Path(server(p)).parent), fifo(p / "conf.d/b.yaml")],
        NOT_REGULAR,
    ),
    "socket": (lambda p: [listening(p / "a.yaml")], "cannot be read: "),
    "link to an endless device": (lambda p: [link(p / "a.yaml", "/dev/zero")], NOT_REGULAR),
    "link to a full device": (lambda p: [link(p / "a.yaml", "/dev/full")], NOT_REGULAR),
    "link to nothing": (
        lambda p: [server(p), link(p / "conf.d/a.yaml", p / "gone")],
        "No such file or directory",
    ),
    "directory with a link to nothing": (
        lambda p: [str(Path(link(p / "conf.d/a.yaml", p / "gone")).parent.parent)],
        "No such file or directory",
    ),
    "links in a circle": (lambda p: [link(p / "a.yaml", "a.yaml")], "cannot be read: "),
    "a directory of this name": (
        lambda p: [str(directory(p / "homeserver.yaml").parent)],
        "no homeserver.yaml with a server_name",
    ),
    "a directory as a unit": (
        lambda p: [str(directory(p / "a.service"))],
        "no homeserver.yaml with a server_name",
    ),
    "memory of a process": (lambda _: ["/proc/self/mem"], "cannot be read: "),
    "too large": (lambda p: [put(p / "a.yaml", "#" * (LARGEST_YAML + 1))], "it is larger than"),
    "no text": (lambda p: [put(p / "a.yaml", b"a: \xff\xfe")], "is not text in UTF-8"),
    "UTF-16": (lambda p: [put(p / "a.yaml", SERVER.encode("utf-16"))], "is not text in UTF-8"),
    "NUL": (lambda p: [put(p / "a.yaml", "a: \0")], "cannot be read: "),
    "a bomb of aliases": (lambda p: [put(p / "a.yaml", BOMB)], "more than 100000 values"),
    "nested": (lambda p: [put(p / "a.yaml", "[" * 50_000)], "nested more than 100 levels"),
    "an alias in itself": (lambda p: [put(p / "a.yaml", "a: &a [*a]")], "inside of its own value"),
    "an object of Python": (
        lambda p: [put(p / "a.yaml", "a: !!python/object/apply:os.system [true]")],
        "cannot be read: ",
    ),
    # Units of systemd.
    "unit that is a pipe": (lambda p: [fifo(p / "a.service")], NOT_REGULAR),
    "unit with a pipe": (lambda p: [unit(p, fifo(p / "pipe"))], NOT_REGULAR),
    "unit with a name that is too long": (
        lambda p: [unit(p, p / LONG)],
        "is named as a configuration file and does not exist here",
    ),
    "unit with patterns for everything": (
        lambda p: [unit(p, "/%i%i")],
        "starts no Synapse with --config-path|cannot be read|is not|does not exist",
    ),
    "unit with signs of patterns": (
        lambda p: [unit(p, p / "***%i")],
        "starts no Synapse with --config-path",
    ),
    # Compose files.
    "compose beside a pipe": (lambda p: [stack(p, env=fifo)], NOT_REGULAR),
    "compose beside a device": (
        lambda p: [stack(p, env=lambda path: link(path, "/dev/zero"))],
        NOT_REGULAR,
    ),
    "compose beside a large file": (
        lambda p: [stack(p, env=lambda path: put(path, "#" * (LARGEST_FILE + 1)))],
        "it is larger than",
    ),
    "compose beside no text": (
        lambda p: [stack(p, env=lambda path: put(path, b"\xff"))],
        "cannot be read: ",
    ),
    "compose with a mount from outside": (
        lambda p: [stack(p, mounted="/proc/1/root/nowhere")],
        "is named as a configuration file and does not exist here",
    ),
    "compose with a mount that is too long": (
        lambda p: [stack(p, mounted=f"./{LONG}")],
        "is named as a configuration file and does not exist here",
    ),
    # Files that options name.
    "key that is a pipe": (
        lambda p: [put(p / "h.yaml", f"server_name: a.org\nsigning_key_path: {fifo(p / 'key')}\n")],
        "is not a regular file",
    ),
    "key with a path that is too long": (
        lambda p: [put(p / "h.yaml", f"server_name: a.org\nsigning_key_path: {p / LONG}\n")],
        "in signing_key_path, and the signing key is not there",
    ),
    "registration that is a device": (
        lambda p: [server(p, "app_service_config_files: [/dev/zero]")],
        "is in a file system of the kernel",
    ),
    "media of the kernel": (
        lambda p: [server(p, "media_store_path: /proc")],
        "is in a file system of the kernel",
    ),
    "media that are everything": (
        lambda p: [server(p, "media_store_path: /")],
        "is inside of /, which is copied",
    ),
    "media that are a pipe": (
        lambda p: [server(p, f"media_store_path: {fifo(p / 'media')}")],
        "in media_store_path, and its directory is not there",
    ),
    "pipe in the media": (
        lambda p: [server(p, f"media_store_path: {Path(fifo(p / 'media/pipe')).parent}")],
        "is not a regular file",
    ),
    "path with a NUL": (
        lambda p: [server(p, 'media_store_path: "/a\\0b"')],
        "in media_store_path, and its directory is not there",
    ),
    "a path of many parts": (
        lambda p: [server(p, f"media_store_path: {'/x' * 5000}")],
        "in media_store_path, and its directory is not there",
    ),
    # The old proxy's configuration.
    "proxy that is a pipe": (lambda p: [server(p), "--nginx", fifo(p / "n")], NOT_REGULAR),
    "include of a pipe": (lambda p: proxy(p, f"include {fifo(p / 'pipe')};"), NOT_REGULAR),
    "include of itself": (lambda p: proxy(p, "include *.conf;"), "is included by itself"),
    "include of a device": (lambda p: proxy(p, "include /dev/zer[o];"), NOT_REGULAR),
    "proxy that is no text": (
        lambda p: [server(p), "--nginx", put(p / "n", b"\xff\xfe")],
        "is not text in UTF-8",
    ),
    # The database.
    "database that is a pipe": (
        lambda p: [server(p), "--from-sqlite", fifo(p / "db")],
        "is not a regular file",
    ),
    "database that is a device": (
        lambda p: [server(p), "--from-sqlite", link(p / "db", "/dev/zero")],
        "is not a regular file",
    ),
    "database that is a directory": (
        lambda p: [server(p), "--from-sqlite", str(p)],
        "cannot be read: Is a directory",
    ),
    "database with a path that is too long": (
        lambda p: [server(p), "--from-sqlite", str(p / LONG)],
        "cannot be read: ",
    ),
}


def state(place: Path) -> dict[str, tuple[int, bytes]]:
    """Return everything below a directory: the type and mode of each entry, and its content."""
    return {
        str(path): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in place.rglob("*")
    }


@pytest.mark.parametrize("name", CASES)
def test_everything_that_is_no_file_is_an_error(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, expected = CASES[name]
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    arguments = make(old)
    before = state(tmp_path)
    environ = {"GANGLION_DATA": str(tmp_path / "data")}
    assert main(["import", *arguments, "--write", str(new)], environ) == 2
    text = capsys.readouterr().err
    assert text.startswith("ganglion: ")
    assert any(part in text for part in expected.split("|")), text
    assert "\n    fix: " in text
    assert state(tmp_path) == before


@pytest.mark.parametrize("pattern", ["/**/*.nothing", "/***", "/*/*/*/*/*/*.nothing", f"/{LONG}*"])
def test_includes_of_everything_end(
    pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["import", *proxy(tmp_path, f"include {pattern};")], {})
    # By the machine: nothing matches, or too much, or something that is no configuration.
    assert status in (0, 2)
    if status:
        assert "\n    fix: " in capsys.readouterr().err


def test_a_pattern_is_for_one_directory_and_no_hidden_name(tmp_path: Path) -> None:
    for name in ("a/x.conf", "b/x.conf", "b/c/x.conf", ".d/x.conf", "b/.x.conf", "[a]/x.conf"):
        put(tmp_path / name, "")
    found = [str(path.relative_to(tmp_path)) for path in matching(tmp_path, "*/*.conf")]
    assert found == ["[a]/x.conf", "a/x.conf", "b/x.conf"]
    assert matching(tmp_path, "**/x.conf") == matching(tmp_path, "*/x.conf")
    assert matching(tmp_path, ".d/x.con?") == [tmp_path / ".d/x.conf"]
    assert matching(tmp_path, "[[]a]/x.conf") == [tmp_path / "[a]/x.conf"]
    assert matching(tmp_path, "a/none") == []


def test_a_file_that_has_vanished_since_it_was_found_is_an_error(tmp_path: Path) -> None:
    layout = Layout(
        files=(), copies=(Copy(source=tmp_path / "gone", target="media_store"),), notes=()
    )
    for attempt in (
        lambda: writing.check(tmp_path / "new", layout),
        lambda: writing.described(layout, tmp_path / "new"),
    ):
        with pytest.raises(ConfigError):
            attempt()
    assert not (tmp_path / "new").exists()


def test_a_link_in_the_media_that_leads_outside_stays_a_link(tmp_path: Path) -> None:
    config = server(tmp_path, f"media_store_path: {tmp_path / 'media'}")
    link(tmp_path / "media/local_content/outside", "/etc/hostname")
    assert main(["import", config, "--write", str(tmp_path / "new")], {}) == 0
    assert (tmp_path / "new/media_store/local_content/outside").is_symlink()
