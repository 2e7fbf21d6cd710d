"""The account of one process gets nothing of root's, and nothing of another process's."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, free_port
from tests.processes import descendants

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts several accounts")

# Connects to every socket below a directory, and prints those that let it in.
CONNECT = """\
import pathlib, socket, sys
for path in map(pathlib.Path, sys.argv[1:]):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            continue
        print(path)
"""


def as_account(account: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, user=account, group=account if account != "nobody" else "nogroup",
        extra_groups=[], check=False, text=True, capture_output=True, timeout=60, cwd="/",
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    testing = {"GANGLION_TEST_MODE": "yes", "CONTROL_PORT": str(free_port())}
    with Server("client_reader", testing) as made:
        made.start()
        yield made


def test_no_socket_lets_another_account_in(server: Server) -> None:
    sockets = [str(path) for path in server.run.rglob("*") if path.is_socket()]
    assert len(sockets) > 6
    for account in ("nobody", "redis"):
        answer = as_account(account, "/usr/bin/python3", "-c", CONNECT, *sockets)
        assert answer.returncode == 0, answer.stderr
        own = {str(server.run / "redis" / "redis.sock")} if account == "redis" else set()
        assert set(answer.stdout.splitlines()) <= own


def test_no_other_account_holds_the_lock_or_reads_a_file(server: Server) -> None:
    for path in (
        server.data / ".lock",
        server.data / "secrets" / "macaroon_secret_key",
        server.data / "localhost.signing.key",
        server.run / "conf" / "secrets" / "signing_key",
        server.run / "conf" / "redis.conf",
        server.data / "postgres" / "PG_VERSION",
    ):
        assert path.exists()
        answer = as_account("nobody", "cat", str(path))
        assert "Permission denied" in answer.stderr, path
    locked = as_account("nobody", "flock", "--nonblock", str(server.data / ".lock"), "true")
    assert locked.returncode != 0


def test_no_process_gains_privileges(server: Server) -> None:
    assert server.process is not None
    for pid in descendants(server.process.pid):
        status = Path("/proc", str(pid), "status").read_text()
        assert "NoNewPrivs:\t1\n" in status, status.partition("\n")[0]


# Replaces a path by a link, as far as its account may.
REPLACE = 'rm -rf "$1"; ln -s "$2" "$1"'
ATTACKS = (
    ("www-data", "run/nginx/body"),
    ("www-data", "run/nginx/proxy"),
    ("www-data", "run/nginx.pid"),
    ("www-data", "run/nginx"),
    ("synapse", "run/sockets/main.sock"),
    ("synapse", "run/sockets/redis"),
    ("synapse", "run/sockets"),
    ("synapse", "data/media_store"),
    ("synapse", "data/media_store/local_content"),
    ("synapse", "data/logs/main.log"),
    ("synapse", "data/logs"),
    ("redis", "run/redis/redis.sock"),
    ("redis", "run/redis"),
    ("postgres", "run/postgres"),
)


def test_root_follows_no_link_of_another_account() -> None:
    """At the next start, as root enters and cleans the directories of all."""
    with Server("none", {"SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK": "yes"}) as made:
        victim = made.root / "victim"
        (victim / "inside").mkdir(parents=True, mode=0o755)
        for path in (victim / "file", victim / "inside" / "file"):
            path.write_text("root's\n")
            path.chmod(0o600)
        made.start()
        made.stop()

        def state() -> str:
            found = {}
            for path in (victim, *sorted(victim.rglob("*"))):
                status = path.lstat()
                content = path.read_text() if path.is_file() else ""
                found[str(path)] = (status.st_uid, status.st_gid, status.st_mode, content)
            return json.dumps(found)

        before = state()
        done = []
        for target in (victim, victim / "file"):
            for account, place in ATTACKS:
                link = made.root / place
                as_account(account, "sh", "-c", REPLACE, "sh", str(link), str(target))
                done += [place] if link.is_symlink() else []
            made.start()
            made.stop()
            assert state() == before
        # Otherwise nothing was tried.
        assert "data/media_store/local_content" in done
        assert "data/logs/main.log" in done
