"""The image as a replacement for Synapse's own: its commands, its variables, its data volume."""

import asyncio

from tests.image.engine import CLIENT_ENVIRONMENT, Container, container, run, volume
from tests.matrix import Clients

NAMED = {"SYNAPSE_SERVER_NAME": "example.org", "SYNAPSE_REPORT_STATS": "no"}
# Prints the account of a process, and the owners of some paths.
OWNERS = """
import os, re, sys
status = open(f"/proc/{sys.argv[1]}/status").read()
print(*re.findall(r"(?m)^[UG]id:\\s+(\\d+)", status))
for path in sys.argv[2:]:
    found = os.stat(path)
    print(found.st_uid, found.st_gid)
"""
PATHS = ("/data/media_store", "/data/example.org.signing.key")


def once(image: str, name: str, *words: str, **environment: str) -> tuple[int, str]:
    """Run a container to its end over a volume. Returns its exit status and its output."""
    options = [f"--env={variable}={text}" for variable, text in environment.items()]
    done = run(
        "docker", "run", "--rm", f"--volume={name}:/data", *options, image, *words, check=False
    )
    return done.returncode, done.stdout + done.stderr


def owners(server: Container, process: str) -> list[str]:
    python = "/opt/ganglion/venv/bin/python"
    number = str(server.pids()[process])
    return server.inside(python, "-c", OWNERS, number, *PATHS).stdout.splitlines()


def test_generate_and_run_with_uid_and_gid(image: str) -> None:
    with volume() as name:
        assert once(image, name, "generate", UID="1234")[0] == 2
        status, said = once(image, name, "generate", **NAMED, UID="1234", GID="1235")
        assert status == 0
        assert "wrote /data/homeserver.yaml\n" in said
        status, said = once(image, name, "migrate_config", **NAMED)
        assert status == 0
        assert "/data/homeserver.yaml is there already, and stays as it is\n" in said
        mount = ("--volume", f"{name}:/data")
        # Without the server's name: homeserver.yaml has it.
        asked = {**CLIENT_ENVIRONMENT, "SYNAPSE_WORKER_TYPES": "client_reader"}
        numbers = {"UID": "1234", "GID": "1235", "TZ": "Europe/Berlin"}
        with container(image, {**asked, **numbers}, *mount, operator_files={}) as server:
            server.wait_healthy()
            for process in ("main", "client_reader1"):
                assert owners(server, process) == ["1234 1235"] * 3
            server.ganglion("register-user", "dora", stdin="password of dora\n")
            # 01:00 there is midnight in UTC, in winter.
            clock = server.inside("sh", "-c", "TZ=Europe/Berlin date -d @0 +%H")
            assert clock.stdout == "01\n"
            server.stop()
        with container(image, asked, *mount, operator_files={}) as server:
            server.wait_healthy()
            assert owners(server, "main") == ["991 991"] * 3
            assert "/data/media_store belongs to synapse from now on" in server.log()
            asyncio.run(log_in(server.base_url))


async def log_in(base_url: str) -> None:
    async with Clients(base_url) as clients:
        session = await clients.login("@dora:example.org", "password of dora")
        assert session.user_id == "@dora:example.org"


def test_run_rejects_other_arguments(image: str) -> None:
    with volume() as name:
        words = ("run", "-m", "synapse.app.generic_worker", "--config-path=/data/worker.yaml")
        status, said = once(image, name, *words)
    assert status == 2
    assert said.startswith("ganglion: 1 problem\nrun='-m synapse.app.generic_worker ")
    assert "set WORKERS instead of -m" in said
