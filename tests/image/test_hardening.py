"""The image with as few rights as it can have: docs/security.md says which."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ganglion.cli.verb import VERBS
from ganglion.machine import capabilities
from tests import flows
from tests.harness import SHARED_SECRET, wait_until
from tests.image.engine import (
    CLIENT_ENVIRONMENT,
    ROOT,
    Container,
    container,
    docker,
    run,
    volume,
    watched,
)

USER = "12345:12345"
READ_ONLY = ("--read-only", "--tmpfs", "/run/ganglion")
NO_NEW = ("--security-opt", "no-new-privileges")
MODULE = "/opt/ganglion/entrypoint/ganglion/machine"

# Prints [no new privileges, UID, effective capabilities, command] of every thread of the container.
# Processes that `docker exec` put in have no parent there.
LIST_THREADS = r"""
import contextlib, json, pathlib, re
found = []
for path in pathlib.Path("/proc").glob("[0-9]*/task/[0-9]*"):
    with contextlib.suppress(OSError):  # it has ended since
        status = (path / "status").read_text()
        fields = dict(re.findall(r"(?m)^(Tgid|PPid|Uid|NoNewPrivs|CapEff):\s+(\w+)", status))
        if fields["Tgid"] == "1" or fields["PPid"] != "0":
            command = (path / "cmdline").read_text().replace("\0", " ").strip()
            found.append([fields["NoNewPrivs"], fields["Uid"], fields["CapEff"], command])
print(json.dumps(found))
"""

# Prints the number of files, then each that gives its caller other rights.
LIST_PRIVILEGED = r"""
import os, stat
paths = [
    os.path.join(top, name)
    for place in sorted(set(os.listdir("/")) - {"dev", "proc", "sys"})
    for top, _, names in os.walk(f"/{place}")
    for name in names
]
print(len(paths))
for path in paths:
    found = os.lstat(path)
    if stat.S_ISREG(found.st_mode):
        attributes = os.listxattr(path)
        if found.st_mode & 0o6000 or "security.capability" in attributes:
            print(path)
"""
# How the kernel's refusals look in the log.
REFUSED = re.compile(r"Operation not permitted|Permission denied|PermissionError")


def with_capabilities(*names: str) -> list[str]:
    return ["--cap-drop", "ALL", *(word for name in names for word in ("--cap-add", name))]


def threads(server: Container) -> list[tuple[str, str, str, str]]:
    found = server.privileged("/opt/ganglion/venv/bin/python", "-c", LIST_THREADS)
    return [(row[0], row[1], row[2], row[3]) for row in json.loads(found)]


def names(server: Container) -> set[str]:
    """The programs of a server whose `docker exec` has too few rights to enter it."""
    rows = json.loads(server.privileged("ganglion", "status", "--json"))
    return {row["name"] for row in rows if row["starts"] is not None}


def test_no_file_is_setuid_or_has_capabilities(image: str) -> None:
    found = docker(
        *("run", "--rm", "--interactive", "--entrypoint", "/opt/ganglion/venv/bin/python", image),
        "-",
        stdin=LIST_PRIVILEGED.encode(),
    )
    listed, *privileged = found.splitlines()
    assert int(listed) > 10_000
    assert privileged == []


@pytest.fixture(scope="module")
def least(image: str) -> Iterator[Container]:
    """A server as root with exactly the capabilities that are needed, on a read-only root.

    Not with no-new-privileges, which it must set itself; compose/hardened.yaml has all together.
    """
    with ExitStack() as stack:
        data = stack.enter_context(volume())
        options = (*with_capabilities(*capabilities.ROOT), *READ_ONLY)
        environment = {**CLIENT_ENVIRONMENT, "WORKERS": "client_reader"}
        # Of another account and closed, as an operator's own may be.
        files = {"/data/homeserver.d": {"50-size.yaml": "max_upload_size: 7M\n"}}
        server = stack.enter_context(
            container(image, environment, *options, "--volume", f"{data}:/data", files=files)
        )
        server.wait_healthy()
        yield server


def test_root_runs_with_the_least_capabilities_on_a_read_only_root(least: Container) -> None:
    assert names(least) == {"postgres", "redis", "main", "client_reader1", "nginx", "control"}
    wanted = sum(1 << bit for bit, _ in capabilities.ROOT.values())
    rows = threads(least)
    assert {int(row[2], 16) for row in rows if row[1] == "0"} == {wanted}
    # Programs with accounts of their own keep none.
    assert {int(row[2], 16) for row in rows if row[1] != "0"} == {0}


def test_every_thread_has_no_new_privileges(least: Container) -> None:
    rows = threads(least)
    assert len(rows) > 20
    assert {row[0] for row in rows} == {"1"}, [row for row in rows if row[0] != "1"]


def without(name: str) -> list[str]:
    """Options for all needed capabilities but one."""
    return with_capabilities(*(other for other in capabilities.ROOT if other != name))


@pytest.mark.parametrize("name", capabilities.ROOT)
def test_a_capability_that_is_missing_is_named_at_once(image: str, name: str) -> None:
    done = run("docker", "run", "--rm", *without(name), image, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("ganglion: 1 problem\ncapabilities: this account lacks CAP_")
    assert f"docker run --cap-add {name}, or start as another account" in done.stderr


def test_no_capability_at_all_is_no_traceback(image: str) -> None:
    done = run("docker", "run", "--rm", "--cap-drop=ALL", image, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("ganglion: 1 problem\ncapabilities: this account lacks ")
    assert all(f"--cap-add {name}" in done.stderr for name in capabilities.ROOT)
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", capabilities.ROOT)
def test_each_capability_is_needed(image: str, name: str) -> None:
    """Without the check at the start, a server that lacks it fails, or cannot be stopped."""
    source = ROOT / "entrypoint/ganglion/machine/capabilities.py"
    text = source.read_text(encoding="utf-8")
    unchecked = text.replace("dict(ROOT) if root else {}", "{}")
    assert unchecked != text
    server = Container(docker("create", "--env", "WORKERS=none", *without(name), image))
    with watched(server):
        try:
            server.put(MODULE, {"capabilities.py": unchecked})
            server.put("/data/homeserver.d", {"50-size.yaml": "max_upload_size: 7M\n"}, owner=4711)
            server.start()
            if name == "KILL":
                server.wait_healthy()
                docker("stop", "--time", "60", server.id)
                assert "stopped: nginx" in server.log()
                assert "stopped: postgres" not in server.log()
            else:
                assert server.wait_end() != 0
                assert REFUSED.search(server.log())
        finally:
            docker("rm", "--force", "--volumes", server.id)


@pytest.fixture(scope="module")
def stranger(image: str) -> Iterator[Container]:
    """A server of an account that the image does not know, with all limits together."""
    with volume() as name:
        mount = ("--volume", f"{name}:/data")
        docker("run", "--rm", *mount, "--entrypoint", "chown", image, USER, "/data")
        options = (*mount, "--user", USER, *with_capabilities(), *READ_ONLY, *NO_NEW)
        environment = {**CLIENT_ENVIRONMENT, "WORKERS": "small"}
        with container(image, environment, *options) as server:
            server.wait_healthy()
            yield server


def test_an_unknown_account_runs_everything_and_has_no_right(stranger: Container) -> None:
    assert {"postgres", "redis", "main", "nginx"} < names(stranger)
    rows = threads(stranger)
    assert {row[:3] for row in rows} == {("1", "12345", "0000000000000000")}
    owners = stranger.privileged("find", "/data", "/run/ganglion", "!", "-user", "12345")
    # The image's directory for its sockets is root's, and the operator's files came with docker cp.
    assert {line for line in owners.splitlines() if "homeserver.d" not in line} <= {"/run/ganglion"}


def test_an_unknown_account_serves_clients_and_starts_again(stranger: Container) -> None:
    kept = asyncio.run(flows.whole_flow(stranger.base_url, SHARED_SECRET))
    stranger.stop()
    stranger.start()
    stranger.wait_healthy()
    asyncio.run(flows.still_there(stranger.base_url, kept))


def test_a_link_among_the_log_files_is_never_followed_as_root(image: str) -> None:
    """Synapse's account, which a break-in may have won, plants it; its own process is refused the
    file, and serves on."""
    environment = {"WORKERS": "client_reader", "SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK": "yes"}
    as_synapse = ("setpriv", "--reuid=synapse", "--regid=synapse", "--clear-groups")
    with container(image, environment) as server:
        server.wait_healthy()
        owners = server.inside("bash", "-c", "stat --format %U:%A /data/logs /data/logs/*").stdout
        assert owners.split() == ["synapse:drwxr-x---", *["synapse:-rw-r--r--"] * 2]
        for name in ("client_reader1.log", "client_reader1.log.1", "planted"):
            server.inside(*as_synapse, "ln", "-sf", f"/root/{name}", f"/data/logs/{name}")
        server.inside("bash", "-c", f"kill -TERM {server.pids()['client_reader1']}")
        text = "cannot write to /data/logs/client_reader1.log: Permission denied"
        wait_until("report of the refused file", lambda: text in server.log())
        # A whole start, as root at first.
        server.stop()
        before = server.log().count(text)
        server.start()
        wait_until("second report", lambda: server.log().count(text) > before)
        assert (
            server.inside("find", "/root", "-name", "*.log*", "-o", "-name", "planted").stdout == ""
        )


@pytest.mark.parametrize("mode", ["yes", "no"])
def test_an_unknown_account_needs_a_writable_data_directory(image: str, mode: str) -> None:
    done = run(
        *("docker", "run", "--rm", "--user", USER, f"--env=GANGLION_TEST_MODE={mode}", image),
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith(
        "GANGLION_DATA='/data': cannot be written: Permission denied\n"
        "    fix: give a directory that UID 12345 may write to\n"
    )


# Each verb, as somebody would type it.
WORDS = {
    "explain": "explain GET /_matrix/client/versions",
    "render": "render --output /tmp/rendered",
    "register-user": "register-user carol",
    "test": "test reset",
    "backup": "backup /tmp/backup.tar",
    "restore": "restore /tmp/no-such-file.tar",
    "install-module": "install-module --data /no-such-module",
}
# `/data` of another account, with an option that names a file.
CLOSED = """
mkdir /data/homeserver.d
echo 'media_store_path: /data/elsewhere' > /data/homeserver.d/media.yaml
chown -R 4711:4711 /data
chmod 700 /data
"""


@pytest.fixture(scope="module")
def closed(image: str) -> Iterator[str]:
    with volume() as name:
        mount = f"{name}:/data"
        docker("run", "--rm", "--volume", mount, "--entrypoint", "bash", image, "-euc", CLOSED)
        yield name


@pytest.mark.parametrize(
    ("options", "data"),
    [
        (("--cap-drop=ALL",), "none"),
        (("--cap-drop=ALL",), "closed"),
        (("--user=12345:12345",), "closed"),
        (("--read-only",), "none"),
        (("--read-only", "--cap-drop=ALL", "--user=12345:12345", *NO_NEW), "none"),
    ],
)
def test_no_verb_ends_with_a_traceback(
    image: str, closed: str, options: tuple[str, ...], data: str
) -> None:
    mount = ["--volume", f"{closed}:/data"] if data == "closed" else []
    script = "\n".join(
        f"echo '=== {name}'; ganglion {WORDS.get(name, name)} < /dev/null 2>&1; echo \"status $?\""
        for name in VERBS
    )
    environment = ["--env=SYNAPSE_SERVER_NAME=example.org", "--env=SYNAPSE_REPORT_STATS=no"]
    said = docker(
        *("run", "--rm", "--network=none", *environment, *options, *mount),
        *("--entrypoint", "bash", image, "-c", script),
    )
    assert said.count("=== ") == len(VERBS)
    assert "Traceback" not in said
    # Zero, one for a server that does not run, two for a refusal.
    statuses = re.findall(r"(?m)^status (\d+)$", said)
    assert len(statuses) == len(VERBS)
    assert set(statuses) <= {"0", "1", "2"}


def test_a_volume_goes_from_root_to_another_account_and_back(image: str) -> None:
    with volume() as name:
        mount = ("--volume", f"{name}:/data")
        as_user = ("--user", USER, *with_capabilities())

        def as_root(*command: str) -> None:
            docker("run", "--rm", *mount, "--entrypoint", command[0], image, *command[1:])

        def refusal() -> str:
            """The message of a start as the other account."""
            done = run("docker", "run", "--rm", *mount, *as_user, image, check=False)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False)
            return done.stderr

        with container(image, {"WORKERS": "none"}, *mount) as server:
            server.wait_healthy()
            server.stop()
        assert "/data/postgres/PG_VERSION cannot be read: Permission denied\n" in refusal()
        as_root("chown", "-R", USER, "/data")
        as_root("chown", "-R", "synapse", "/data/media_store")
        assert "/data/media_store: cannot be used by UID 12345: Permission denied" in refusal()
        as_root("chown", "-R", USER, "/data")
        with container(image, {"WORKERS": "none"}, *mount, *as_user, operator_files={}) as server:
            server.wait_healthy()
            server.stop()
        with container(image, {"WORKERS": "none"}, *mount, operator_files={}) as server:
            server.wait_healthy()
            assert "/data/postgres belongs to postgres from now on" in server.log()
            paths = ("/data/.lock", "/data/media_store", "/data/postgres/base", "/data/secrets")
            owners = server.inside("stat", "--format", "%U", *paths).stdout.split()
            assert owners == ["root", "synapse", "postgres", "root"]
            server.stop()
