"""The command line for a running server; neither it nor the log shows secrets."""

import asyncio
import json
import secrets
import signal
import subprocess
from pathlib import Path

import pytest

from tests.harness import GANGLION, SHARED_SECRET, Server, wait_until
from tests.matrix import Clients, unused
from tests.processes import descendants

pytestmark = pytest.mark.both_modes

WORKERS = ("sync1", "client1", "federation1", "background1")


def test_ready_reports_a_ready_server(small: Server) -> None:
    answer = small.ganglion("ready")
    assert answer.returncode == 0, answer.stderr


def test_status_names_every_process(small: Server) -> None:
    # It starts after all others.
    wait_until("the control application", lambda: small.pid("control"))
    processes = {row["name"]: row for row in small.status()}
    assert set(processes) == {"postgres", "redis", "main", *WORKERS, "nginx", "control"}
    family = descendants(small.process.pid if small.process else 0)
    assert all(row["pid"] in family for row in processes.values())
    table = small.ganglion("status").stdout
    assert all(name in table for name in processes)
    assert all(row["memory"] > 0 for row in processes.values())
    # Counted in hundredths of a second, which one that has just started may not have taken.
    wait_until(
        "processor time of each", lambda: all(row["processor"] > 0 for row in small.status())
    )


def test_status_looks_again_until_it_is_interrupted(small: Server) -> None:
    watching = subprocess.Popen(
        [*GANGLION, "status", "--watch", "--json"],
        env=small.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with watching:
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        watching.send_signal(signal.SIGINT)
    assert watching.returncode == 0
    assert [row["name"] for row in first] == [row["name"] for row in second]
    assert second[0]["uptime"] >= first[0]["uptime"]


@pytest.mark.parametrize("flags", [(), ("--admin",)])
def test_register_user(small: Server, flags: tuple[str, ...]) -> None:
    name, password = unused("cli"), secrets.token_urlsafe()
    answer = small.ganglion("register-user", name, *flags, stdin=f"{password}\n")
    assert answer.returncode == 0, answer.stderr
    assert password not in answer.stdout + answer.stderr
    asyncio.run(use_account(small, f"@{name}:localhost", password, admin=bool(flags)))

    again = small.ganglion("register-user", name, *flags, stdin=f"{password}\n")
    assert again.returncode != 0
    assert "Traceback" not in again.stderr
    assert name in again.stderr


async def use_account(server: Server, user_id: str, password: str, *, admin: bool) -> None:
    async with Clients(server.base_url) as clients:
        session = await clients.login(user_id, password)
        path = f"/_synapse/admin/v2/users/{user_id}"
        await session.call("GET", path, expect=200 if admin else 403)


def test_secrets_are_readable_by_their_owner_alone(small: Server) -> None:
    directory = small.data / "secrets"
    assert directory.stat().st_mode & 0o777 == 0o700
    kept = secret_files(small)
    assert kept
    for path in kept:
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_secrets_are_shown_nowhere(small: Server) -> None:
    values = {SHARED_SECRET}
    for path in secret_files(small):
        # The file of a signing key also has an algorithm and a version, which are not secret.
        values.update(word for word in path.read_text().split() if len(word) >= 12)
    assert len(values) > 3
    shown = {
        "log": small.log.text(),
        **{
            " ".join(words): (answer := small.ganglion(*words)).stdout + answer.stderr
            for words in (
                ("check",),
                ("check", "--json"),
                ("status",),
                ("status", "--json"),
                ("ready",),
                ("version",),
            )
        },
        "command lines": command_lines(small),
    }
    for where, text in shown.items():
        assert text.strip(), f"{where} is empty"
        assert not [value for value in values if value in text], f"{where} shows a secret"


def secret_files(server: Server) -> list[Path]:
    """Return every file with a secret: the persistent ones and those made at each start."""
    return [
        *(path for path in (server.data / "secrets").rglob("*") if path.is_file()),
        *server.data.glob("*.signing.key"),
        *(path for path in (server.run / "conf" / "secrets").rglob("*") if path.is_file()),
    ]


def command_lines(server: Server) -> str:
    assert server.process is not None
    pids = [server.process.pid, *descendants(server.process.pid)]
    return "\n".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)


def test_check_lists_every_worker(small: Server) -> None:
    answer = small.ganglion("check")
    assert answer.returncode == 0, answer.stderr
    assert all(name in answer.stdout for name in ("main", *WORKERS))
    machine_readable = json.loads(small.ganglion("check", "--json").stdout)
    assert {row["name"] for row in machine_readable["processes"]} == {"main", *WORKERS}
