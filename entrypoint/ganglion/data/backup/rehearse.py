"""Rehearse a restore: the database of a backup in a temporary server, as Synapse finds it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from psycopg2.extensions import parse_dsn

from ganglion.data.backup import verify
from ganglion.data.backup.verify import Verified
from ganglion.data.secrets import new_signing_key
from ganglion.errors import ConfigError, Problem
from ganglion.files.write import write_file
from ganglion.machine import children, temporary
from ganglion.machine.installed import Machine
from ganglion.programs.postgres import dump
from ganglion.programs.postgres.client import Client, Failed
from ganglion.programs.postgres.scratch import new_cluster
from ganglion.settings.secrets import generate
from ganglion.settings.variables import Settings

# In bytes: what a cluster has beside its tables.
CLUSTER = 400 * 1024**2
# In seconds. A migration of a large database takes its time.
WITHIN = 24 * 3600
SHOWN = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The restored database. `schema` is Synapse's version of it, after the check."""

    users: int
    rooms: int
    events: int
    schema: int


def rehearse(settings: Settings, machine: Machine, file: BinaryIO, found: Verified) -> Rehearsal:
    """Restore the database of a verified backup, and have Synapse check and upgrade it.

    It is in a temporary directory (TMPDIR), which is removed. Raises ConfigError and Failed.
    """
    summary = found.summary
    with temporary.directory("rehearsal") as directory:
        directory.chmod(0o711)
        needed = found.summary.database_size * 5 // 4 + CLUSTER
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise ConfigError([_no_room(directory, free, needed)])
        cluster = directory / "postgres"
        with new_cluster(
            cluster, settings, machine, name=summary.name, role=summary.role
        ) as client:
            dump.restore(client, verify.database(file, verify.ends(file).listing))
            dump.prune(client, remote_media=summary.remote_media)
            _have_synapse_check(client, directory, summary.server_name)
            ((users, rooms, events, schema),) = client.query(
                "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM rooms),"
                " (SELECT count(*) FROM events), (SELECT max(version) FROM schema_version)"
            )
    return Rehearsal(users=int(users), rooms=int(rooms), events=int(events), schema=int(schema))


def _no_room(directory: Path, free: int, needed: int) -> Problem:
    return Problem(
        variable="TMPDIR",
        value=str(directory.parent),
        message=f"has {free // 1024**2} MB free, and the rehearsal needs {needed // 1024**2}",
        hint="name a directory on a larger disk as TMPDIR",
    )


def _have_synapse_check(client: Client, directory: Path, server_name: str) -> None:
    """Run Synapse's own program for migrations, which loads everything that main loads.

    It compares versions and sequences, and applies newer migrations.
    https://element-hq.github.io/synapse/latest/usage/administration/ (update_synapse_database)
    """
    configuration: dict[str, Any] = {
        "server_name": server_name,
        "report_stats": False,
        "signing_key": new_signing_key(),
        "macaroon_secret_key": generate(),
        "form_secret": generate(),
        "media_store_path": str(directory / "media"),
        "enable_media_repo": False,
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "database": {"name": "psycopg2", "args": {**parse_dsn(client.dsn), "cp_max": 2}},
    }
    path = directory / "homeserver.yaml"
    write_file(path, yaml.safe_dump(configuration), 0o600, client.account, lasting=False)
    program = ("-m", "synapse._scripts.update_synapse_database", "--database-config", str(path))
    result = children.run(
        [sys.executable, "-P", *program],
        cwd=directory,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **client.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=WITHIN,
        account=client.account,
    )
    if result.returncode:
        said = "\n".join(result.stderr.strip().splitlines()[-SHOWN:])
        raise Failed(f"Synapse does not accept the restored database:\n{said}")
