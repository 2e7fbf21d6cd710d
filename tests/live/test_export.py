"""An export for synctl runs without Ganglion: Synapse's own program, and nginx with our file."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganglion.topology.workers_syntax import parse_workers
from tests.dependencies import PASSWORD, REDIS_PASSWORD, Postgres, Redis, started
from tests.flows import whole_flow
from tests.harness import (
    GANGLION,
    OPERATOR_FILE,
    SHARED_SECRET,
    START_WITHIN,
    STOP_WITHIN,
    free_port,
    wait_until,
)
from tests.raw_http import raw_request

WORKERS = "small, media_repository"
# The account of Synapse, as which a person would type the commands.
ACCOUNT = "synapse" if os.geteuid() == 0 else None


class Exported:
    """The files of an export, and the servers that it needs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files, self.data, self.run = (directory / name for name in ("etc", "data", "run"))
        self.port = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []

    def export(self, postgres: Postgres, redis: Redis) -> None:
        """Type `ganglion export synctl`."""
        operators = self.directory / "operators"
        operators.mkdir()
        (operators / "homeserver.yaml").write_text(OPERATOR_FILE)
        variables = {
            "WORKERS": WORKERS,
            "SYNAPSE_SERVER_NAME": "localhost",
            "SYNAPSE_REGISTRATION_SHARED_SECRET": SHARED_SECRET,
            "SYNAPSE_ENABLE_REGISTRATION": "yes",
            "HTTP_PORT": str(self.port),
            "BIND_ADDRESS": "127.0.0.1",
            "GANGLION_DATA": str(operators),
            "GANGLION_MEMORY": "3G",
            "GANGLION_ADMIN_NETWORKS": "127.0.0.1/32",
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(postgres.port),
            "POSTGRES_PASSWORD": PASSWORD,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis.port),
            "REDIS_PASSWORD": REDIS_PASSWORD,
        }
        places = ("--data", str(self.data), "--run", str(self.run), "--python", sys.executable)
        subprocess.run(
            [*GANGLION, "export", "synctl", str(self.files), *places], env=variables, check=True
        )
        for path in (self.data, self.data / "logs", self.run / "sockets", self.run / "nginx"):
            path.mkdir(parents=True)
        if ACCOUNT:
            for path in (self.directory, *self.directory.rglob("*")):
                shutil.chown(path, ACCOUNT, ACCOUNT)

    def synctl(self, verb: str, within: float) -> str:
        """Type `synctl VERB`, as README.md says."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "synapse._scripts.synctl", verb),
                *(str(self.files / "homeserver.yaml"), "-a", str(self.files / "workers")),
            ],
            user=ACCOUNT,
            cwd=self.data,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in (self.data / "logs").iterdir())

    def start_nginx(self) -> None:
        conf = str(self.files / "nginx" / "nginx.conf")
        with (self.directory / "nginx.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(["/usr/sbin/nginx", "-c", conf], user=ACCOUNT, stderr=log)
            )

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return raw_request(self.port, "GET", "/_matrix/client/versions").status == 200
        return False


@pytest.fixture(scope="module")
def exported() -> Iterator[Exported]:
    with contextlib.ExitStack() as closing:
        postgres, redis = started(closing)
        directory = Path(tempfile.mkdtemp(prefix="ganglion-", dir="/tmp"))
        closing.callback(shutil.rmtree, directory)
        server = Exported(directory)
        server.export(postgres, redis)
        yield server


def test_synctl_runs_all_processes_and_nginx_finds_them(exported: Exported) -> None:
    started = exported.synctl("start", START_WITHIN)
    try:
        names = [line for line in started.splitlines() if "started" in line]
        # Main, and five workers.
        assert len(names) == 6
        exported.start_nginx()
        wait_until("answer through nginx", exported.answers)
        asyncio.run(whole_flow(f"http://127.0.0.1:{exported.port}", SHARED_SECRET))
    finally:
        for process in exported.processes:
            process.terminate()
            process.wait(timeout=STOP_WITHIN)
        exported.synctl("stop", STOP_WITHIN)


def test_an_import_of_the_export_has_the_same_workers(exported: Exported) -> None:
    done = subprocess.run(
        [*GANGLION, "import", "--json", str(exported.files)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["variables"]["WORKERS"]
    assert _entries(found) == _entries(WORKERS)


def _entries(workers: str) -> set[tuple[str, frozenset[str], int]]:
    entries = parse_workers(workers).entries
    return {(entry.name, frozenset(entry.roles), entry.count) for entry in entries}
