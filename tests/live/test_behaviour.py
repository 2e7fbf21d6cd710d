"""Every process that the table of routes names for a request answers it as main does."""

import asyncio
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganglion.routing.nginx_maps import match
from ganglion.routing.table import Choice, table
from ganglion.topology.names import MAIN
from ganglion.topology.topology import Topology
from tests.behaviour import SERVICE, Call, World, send, target
from tests.certificates import Authority
from tests.federation import trust
from tests.harness import SHARED_SECRET, Server, free_port
from tests.homeserver import Homeserver
from tests.matrix import Clients
from tests.oracle.samples import Registration, load
from tests.plans import topology_of
from tests.raw_http import unix_request
from tests.recipes import RECIPES, requests

with warnings.catch_warnings():
    # Synapse and its libraries use deprecated functions.
    warnings.simplefilter("ignore")
    from tests.oracle.generate import LOGINS, experimental_features

# One worker of each kind: the resources that it has, and whether it writes streams.
WORKERS = """
    client=client_reader+room_reader+login+sso+event_creator+frontend_proxy+synchrotron
    federation=federation_reader+federation_inbound
    media_repository
    quarantined_media_changes
    streams=stream_writers
    user_dir
    event_persister
"""
# Registered only with a service that logs users in: the last test.
ELSEWHERE = {"MasResource"}


def options(trusted: Path, service: Path) -> str:
    """Switch on all that registers a servlet, besides test mode."""
    values: dict[str, Any] = {
        **LOGINS["synapse"],
        **yaml.safe_load(trust(str(trusted))),
        "experimental_features": experimental_features(),
        "app_service_config_files": [str(service)],
        "allow_public_rooms_over_federation": True,
        "federation_whitelist_endpoint_enabled": True,
        "include_profile_updates_in_sync": True,
        "retention": {"enabled": True},
        "serve_server_wellknown": True,
        "url_preview_ip_range_blacklist": ["192.0.2.0/24"],
    }
    return yaml.safe_dump(values)


def named(row: Registration, choice: Choice, layout: Topology) -> list[str]:
    """Return the processes that a row of the table names for a request, in some layout or other.

    Those are the workers of all its roles, and main if it can stand in for them.
    """
    if choice.route.writers_only:
        return sorted(member.name for member in choice.pool.members)
    workers = {worker.name for role in choice.route.roles for worker in layout.having(role)}
    main = "main" if "media" in layout.main.resources else "main_without_media"
    return sorted(workers | ({MAIN} if main in row.served_by else set()))


def differences(world: World, workers: str) -> Iterator[str]:
    """Yield each response that is not the expected one, of all processes named for a request."""
    layout = topology_of(workers)
    choices = table(layout)
    for row in load():
        if row.servlet in ELSEWHERE or not any(kind.endswith("_worker") for kind in row.served_by):
            continue
        for make in requests(row):
            first = make(world)
            call: Call | None = first
            method, path = target(world, row, first)
            for process in named(row, match(method, path, choices), layout):
                call = call or make(world)
                answer = send(world, process, row, call)
                if answer.status != call.status:
                    sent = " ".join(target(world, row, call))
                    body = answer.body.decode(errors="replace")[:300]
                    yield f"{process}: {sent}: {answer.status} {body}, not {call.status}"
                # A request that changes something succeeds once.
                call = None


# Hundreds of requests, each with what it needs.
@pytest.mark.timeout(900)
# The first shows that the expected responses are those of main, where nothing else is.
@pytest.mark.parametrize("workers", ["none", WORKERS], ids=["main", "workers"])
def test_each_process_answers_what_is_routed_to_it(
    workers: str, authority: Authority, tmp_path: Path
) -> None:
    other = Homeserver(free_port(), "localhost")
    variables = {"GANGLION_TEST_MODE": "yes", "CONTROL_PORT": str(free_port())}
    with Server(workers, variables) as server:
        trusted, service = server.root / "authority.pem", server.root / "service.yaml"
        trusted.write_bytes(authority.path.read_bytes())
        service.write_text(SERVICE)
        server.data.joinpath("homeserver.d", "50-test.yaml").write_text(options(trusted, service))
        server.start()
        with other.open(authority, tmp_path):
            administrator = asyncio.run(register_administrator(server))
            world = World(server.run / "sockets", server.base_url, other, administrator)
            assert list(differences(world, workers)) == []
        server.stop()


def test_each_recipe_is_of_something_that_workers_register() -> None:
    rows = [row for row in load() if any(kind.endswith("_worker") for kind in row.served_by)]
    names = {name for row in rows for name in (row.pattern, row.servlet.rpartition(".")[2])}
    assert {name for name, _ in RECIPES} <= names


async def register_administrator(server: Server) -> str:
    async with Clients(server.base_url) as clients:
        session = await clients.register_with_secret("admin", SHARED_SECRET, admin=True)
        return str(session.nio.access_token)


def test_a_worker_answers_the_authentication_service() -> None:
    operator_file = yaml.safe_dump(LOGINS["mas"])
    closed = {"SYNAPSE_ENABLE_REGISTRATION": "no"}
    with Server("client_reader", closed, operator_file) as server:
        server.start()
        answers = {
            process: list(provision(server, process, f"user{number}"))
            for number, process in enumerate(("main", "client_reader1"))
        }
        assert {status for _, status in answers["main"]} <= {200, 201, 204}, answers["main"]
        assert answers["client_reader1"] == answers["main"]
        server.stop()


def provision(server: Server, process: str, user: str) -> Iterator[tuple[str, int]]:
    """Make the requests of the Matrix Authentication Service; yield each with its status."""
    device = {"device_id": "DEVICE", "display_name": "a device"}
    bodies: dict[str, dict[str, Any] | None] = {
        f"is_localpart_available?localpart={user}": None,
        "provision_user": {"set_displayname": user},
        f"query_user?localpart={user}": None,
        "set_displayname": {"displayname": "another"},
        "unset_displayname": {},
        "allow_cross_signing_reset": {},
        "upsert_device": device,
        "update_device_display_name": device,
        "sync_devices": {"devices": ["OTHER"]},
        "delete_device": {"device_id": "OTHER"},
        "delete_user": {"erase": False},
        "reactivate_user": {},
    }
    headers = {"Authorization": "Bearer test", "X-Forwarded-For": "127.0.0.1"}
    for name, body in bodies.items():
        data = None if body is None else json.dumps({"localpart": user, **body}).encode()
        answer = unix_request(
            server.run / "sockets" / f"{process}.sock",
            "GET" if data is None else "POST",
            f"/_synapse/mas/{name}",
            headers,
            data,
        )
        yield name.partition("?")[0], answer.status
