"""docs/security.md against a running server: its ports, sockets, files and accounts."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.harness import wait_until
from tests.image.engine import ROOT, Container, container

PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMES = ("main", "client_reader1")
# The files of a production server, each as [path, mode, owner:group].
FIND = "find {} -printf '%p %m %u:%g\\n'"
LISTENING = "0A"
# Prints [account, command] of each process.
LIST_PROCESSES = r"""
import contextlib, json, pathlib, pwd
found = []
for path in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):  # it has ended since
        command = (path / "cmdline").read_text().replace("\0", " ").strip()
        parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
        if parent != "0" or path.name == "1":
            found.append([pwd.getpwuid(path.stat().st_uid).pw_name, command])
print(json.dumps(found))
"""


def rows(section: str) -> Iterator[list[str]]:
    """The cells of the table in a section that is marked as compared."""
    text = PAGE.partition(f"\n## {section} †\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) > 3, section
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


@pytest.fixture(scope="module")
def server(image: str) -> Iterator[Container]:
    environment = {"WORKERS": "client_reader", "SYNAPSE_ENABLE_METRICS": "yes"}
    with container(image, environment) as made:
        made.wait_healthy()
        yield made


def found(server: Container, words: str) -> dict[str, tuple[str, str]]:
    """The mode and owner of each file, by its path."""
    lines = server.inside("bash", "-c", FIND.format(words)).stdout.splitlines()
    return {path: (mode, owner) for path, mode, owner in map(str.split, lines)}


def test_ports(server: Container) -> None:
    text = server.inside("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout
    fields = [line.split() for line in text.splitlines() if ":" in line.split()[1]]
    listening = {row[1] for row in fields if row[3] == LISTENING}
    ports = {int(row[0].split()[0]): row[1] for row in rows("Ports")}
    assert set(ports) == {8008, 8448, 9469}
    # No certificate; the control port on 127.0.0.1.
    expected = {f"{'0' * 8}:{8008:04X}", f"{'0' * 32}:{8008:04X}", f"0100007F:{9469:04X}"}
    assert listening == expected


def test_sockets(server: Container) -> None:
    sockets = found(server, "/run/ganglion -type s")
    expected = {}
    for cell, mode, owner, *_ in rows("Sockets"):
        for path in quoted(cell):
            for name in NAMES if "NAME" in path else ("",):
                at = f"/run/ganglion/{path.replace('NAME', name)}"
                expected[at.rstrip("/")] = (mode.lstrip("0"), owner)
    directories = {path for path in expected if not path.endswith((".sock", "5432"))}
    assert len(directories) == 4
    assert sockets == {path: expected[path] for path in expected.keys() - directories}
    assert found(server, f"{' '.join(sorted(directories))} -maxdepth 0") == {
        path: expected[path] for path in directories
    }


def test_files(server: Container) -> None:
    everything = found(server, "/data /run/ganglion")
    for cell, modes, owner, *_ in rows("Files"):
        paths = quoted(cell)
        for path, mode in zip(paths, modes.split(", ") * len(paths), strict=False):
            pattern = re.escape(path).replace("SERVER_NAME", "localhost").replace("NAME", "[^/]+")
            matching = {at: seen for at, seen in everything.items() if re.fullmatch(pattern, at)}
            assert matching, path
            assert set(matching.values()) == {(mode.lstrip("0"), owner)}, path
    # No other file with a secret can be read by all.
    listed = server.inside("find", "/data/secrets", "/run/ganglion/conf/secrets", "-type", "f")
    assert len(listed.stdout.splitlines()) > 8
    assert {everything[path][0] for path in listed.stdout.splitlines()} == {"600"}


def test_accounts(server: Container) -> None:
    def listing() -> list[list[str]]:
        found = server.inside("/opt/ganglion/venv/bin/python", "-c", LIST_PROCESSES).stdout
        listed: list[list[str]] = json.loads(found)
        return listed if any("gunicorn: worker" in command for _, command in listed) else []

    # The control application starts when all others are ready.
    listed = wait_until("the control application", listing)
    table = {quoted(row[0])[0]: re.split(r"[ :]", row[1])[0] for row in rows("Accounts")}
    assert len(table) == 7
    seen = set()
    for account, command in listed:
        title = command.replace("client_reader1:", "main:")
        kind = next(name for name in table if re.match(rf"(/\S*/)?{re.escape(name)}", title))
        seen.add(kind)
        assert account == table[kind], command
    assert seen == set(table)


def test_writable_places(server: Container) -> None:
    """No program and no file that a program reads can be changed by another account."""
    script = (
        "find / -xdev ( -path /proc -o -path /sys -o -path /dev ) -prune -o"
        " ! -type l -perm /022 -printf %p\\n"
    )
    lines = server.inside(*script.split()).stdout.splitlines()
    found = {path for path in lines if not path.startswith(("/run/ganglion/", "/data/"))}
    assert "/tmp" in found  # noqa: S108 - only the name
    assert {f"/{path.split('/')[1]}" for path in found} <= {"/etc", "/run", "/tmp", "/var"}  # noqa: S108
    # Debian's package of Redis has a directory there, which nothing here reads.
    assert [path for path in found if path.startswith("/etc")] == ["/etc/redis"]


def test_no_secret_is_in_a_process_or_in_the_log(server: Container) -> None:
    secrets = server.inside("bash", "-c", "cat /data/secrets/* /data/*.signing.key").stdout.split()
    long = {text for text in secrets if len(text) > 20}
    assert len(long) > 5
    shown = server.inside(
        "bash", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; true"
    ).stdout
    assert "synapse.app.homeserver" in shown
    log = server.log()
    assert not [text for text in long if text in shown or text in log]
