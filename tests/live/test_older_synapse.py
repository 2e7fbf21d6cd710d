"""Data of another Synapse: those of an older one are upgraded, those of a newer one refused."""

import asyncio
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from ganglion.machine.installed import discover
from ganglion.programs import registry
from ganglion.programs.postgres import cluster
from ganglion.settings.environment import from_environ
from tests.flows import still_there, whole_flow
from tests.harness import SHARED_SECRET, Server

# Synapse alone, with the dependencies of the present one: requirements/older.lock.
OLDER = Path(sys.prefix) / "older"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A stopped server."""
    with Server("none") as server:
        yield server


def versions(server: Server) -> dict[str, str]:
    found: dict[str, str] = json.loads((server.data / "server.json").read_text())["versions"]
    return found


def record(server: Server, **changes: str) -> None:
    path = server.data / "server.json"
    values = json.loads(path.read_text())
    values["versions"] |= changes
    path.write_text(json.dumps(values))


def sql(server: Server, statement: str) -> None:
    settings = from_environ(server.environment, str)
    place = Path(settings.paths.postgres)
    account = {"postgres": registry.ACCOUNTS["postgres"]}
    machine = discover(place, (), account, postgres=True)
    cluster.values(place, settings, machine, statement, settings.postgres_db)


def test_an_upgrade_keeps_everything_and_a_newer_database_is_refused(server: Server) -> None:
    assert OLDER.is_dir(), "type scripts/setup --test"
    server.environment["PYTHONPATH"] = str(OLDER)
    server.start()
    older = versions(server)["synapse"]
    assert older != version("matrix-synapse")
    kept = asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
    server.stop()

    del server.environment["PYTHONPATH"]
    server.start()
    assert versions(server)["synapse"] == version("matrix-synapse")
    asyncio.run(still_there(server.base_url, kept))
    server.stop()

    # The older one may go back: both have the same compatible schema.
    server.environment["PYTHONPATH"] = str(OLDER)
    server.start()
    asyncio.run(still_there(server.base_url, kept))
    server.stop()
    del server.environment["PYTHONPATH"]

    # As a Synapse to come would leave it.
    sql(server, "UPDATE schema_compat_version SET compat_version = 999")
    record(server, synapse="9.9.9", schema="999")
    before = (server.data / "server.json").read_text()
    for verb in ("run", "check"):
        answer = server.ganglion(verb)
        assert answer.returncode == 2, verb
        assert (
            "and the database, last used by Synapse 9.9.9, needs 999 or later" in answer.stderr
        ), verb
        assert "use an image with Synapse 9.9.9, or restore a backup" in answer.stderr
    assert (server.data / "server.json").read_text() == before

    # One that Synapse accepts starts, whatever the record says.
    sql(server, "UPDATE schema_compat_version SET compat_version = 84")
    server.start()
    asyncio.run(still_there(server.base_url, kept))
    server.stop()
    assert versions(server)["synapse"] == version("matrix-synapse")
