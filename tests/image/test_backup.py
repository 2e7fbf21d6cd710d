"""A backup in the image, with the least rights and as an account without a name."""

import asyncio

import pytest

from tests import flows
from tests.harness import SHARED_SECRET
from tests.image.engine import container, docker, run, volume

LEAST = (
    *("--read-only", "--tmpfs", "/run/ganglion", "--tmpfs=/tmp", "--cap-drop=ALL"),
    *("--security-opt", "no-new-privileges"),
)
SIX = tuple(
    f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
)
STRANGER = ("--user", "12345:12345")
# `docker exec` cannot enter a container with so few rights in an engine that runs in a chroot.
ENTER = {"least": (), "stranger": ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups")}


@pytest.mark.parametrize(
    ("who", "rights"), [("least", (*LEAST, *SIX)), ("stranger", (*LEAST, *STRANGER))]
)
def test_a_backup_is_restored_into_another_volume(
    image: str, who: str, rights: tuple[str, ...]
) -> None:
    variables = {
        "WORKERS": "none",
        "GANGLION_ADMIN_NETWORKS": "private",
        "SYNAPSE_ENABLE_REGISTRATION": "yes",
        "SYNAPSE_REGISTRATION_SHARED_SECRET": SHARED_SECRET,
    }
    with volume() as old, volume() as new:
        for name in (old, new):
            mount = f"{name}:/data"
            # A new volume gets the owner that the image's directory has.
            docker("run", "--rm", "--volume", mount, "--entrypoint", "chmod", image, "777", "/data")
        with container(image, variables, *rights, "--volume", f"{old}:/data") as server:
            server.wait_healthy()
            kept = asyncio.run(flows.whole_flow(server.base_url, SHARED_SECRET))
            server.privileged(*ENTER[who], "ganglion", "backup", "/data/backup.tar")
            server.privileged(*ENTER[who], "ganglion", "backup", "--rehearse", "/data/backup.tar")
            server.stop()
        mounts = ("--volume", f"{old}:/old:ro", "--volume", f"{new}:/data")
        done = run("docker", "run", "--rm", *rights, *mounts, image, "restore", "/old/backup.tar")
        assert "restored localhost into /data" in done.stdout
        with container(
            image, variables, *rights, "--volume", f"{new}:/data", operator_files={}
        ) as server:
            server.wait_healthy()
            asyncio.run(flows.still_there(server.base_url, kept))
            server.stop()
