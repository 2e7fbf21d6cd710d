"""Effects of variables: TCP between processes, metrics, log files, proxies in front."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from tests import room_flows
from tests.flows import whole_flow
from tests.harness import SHARED_SECRET, Server, free_port
from tests.live.test_lifecycle import outlive_a_kill
from tests.live.test_nginx import SPOOFED, address_seen
from tests.matrix import Clients, eventually
from tests.raw_http import raw_request

# Each process has three ports.
PROCESSES = 5


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    environment = {
        "SYNAPSE_USE_UNIX_SOCKET": "no",
        "INTERNAL_PORT_BASE": str(free_port(3 * PROCESSES)),
        "SYNAPSE_ENABLE_METRICS": "yes",
        # nginx serves the metrics alone then.
        "GANGLION_CONTROL": "no",
        "CONTROL_PORT": str(free_port()),
        "SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK": "yes",
        "TRUSTED_PROXIES": "127.0.0.1/32",
    }
    workers = "client_reader:2, event_persister, stream_writers"
    with Server(workers, environment) as server:
        server.start()
        asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
        yield server


def test_clients_can_do_everything_over_tcp(server: Server) -> None:
    sockets = {path.name for path in (server.run / "sockets").rglob("*.sock")}
    assert "main.sock" not in sockets
    for worker in ("client_reader1", "client_reader2", "event_persister1", "stream_writers1"):
        server.log.wait_for(rf"^{worker} \| .*Processed request")


def test_metrics_of_every_process_are_on_the_control_port(server: Server) -> None:
    control = int(server.environment["CONTROL_PORT"])
    for name in ("main", "client_reader1", "client_reader2", "event_persister1"):
        answer = raw_request(control, "GET", f"/metrics/{name}")
        assert answer.status == 200
        assert b"synapse_build_info" in answer.body
        assert b"synapse_build_info" in raw_request(control, "GET", f"/metrics/worker/{name}").body
    for path in ("/metrics/nobody", "/_synapse/metrics", "/_matrix/client/versions"):
        assert raw_request(control, "GET", path).status == 404
    for path in ("/metrics/main", "/_synapse/metrics", "/_synapse/%6detrics"):
        assert server.get(path).status == 404


def test_prometheus_discovers_every_process(server: Server) -> None:
    """The targets are those of Synapse's worker image, and each has metrics with that version."""
    control = int(server.environment["CONTROL_PORT"])
    answer = raw_request(control, "GET", "/metrics/service_discovery")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    targets = json.loads(answer.body)
    labels = [target["labels"] for target in targets]
    assert {(item["job"], item["index"]) for item in labels} == {
        ("synapse", "1"),
        ("client_reader", "1"),
        ("client_reader", "2"),
        ("event_persister", "1"),
        ("stream_writers", "1"),
    }
    assert len({target["targets"][0] for target in targets}) == 1
    plain = f'version="{version("matrix-synapse")}"'
    for item in labels:
        found = raw_request(control, "GET", item["__metrics_path__"])
        assert plain in found.body.decode()
    moved = raw_request(control, "GET", "/")
    assert (moved.status, moved.headers["Location"]) == (302, "/metrics/service_discovery")


def test_each_process_logs_to_a_file_of_its_own(server: Server) -> None:
    logs = {path.name: path.read_text() for path in (server.data / "logs").iterdir()}
    for name in ("main", "client_reader1", "stream_writers1"):
        assert "Processed request" in logs[f"{name}.log"]


def test_trusted_proxy_names_the_client(server: Server) -> None:
    assert address_seen(server, {"X-Forwarded-For": SPOOFED}) == SPOOFED
    # The client's own text comes before the address that the proxy adds.
    assert address_seen(server, {"X-Forwarded-For": f"198.51.100.1, {SPOOFED}"}) == SPOOFED


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/_synapse/admin/v1/register", 403),
        ("/_synapse/%61dmin/v1/register", 404),
        ("/_synapse/client/../admin/v1/register", 400),
        ("/%5Fsynapse%2Fadmin/v1/register", 404),
    ],
)
def test_administration_is_closed_to_other_networks(server: Server, path: str, status: int) -> None:
    assert server.get("/_synapse/admin/v1/register").status == 200
    assert server.get(path, {"X-Forwarded-For": SPOOFED}).status == status


def test_other_worker_of_a_pool_stands_in_for_a_killed_one(server: Server) -> None:
    outlive_a_kill(server, "client_reader1")


@pytest.mark.parametrize("name", ["nginx", "redis", "main", "postgres"])
def test_any_process_that_is_killed_comes_back(server: Server, name: str) -> None:
    mark = server.log.mark()
    os.kill(server.pid(name), signal.SIGKILL)
    server.log.wait_for(rf"exited: {name} \(", mark)
    server.wait_ready()
    # Synapse finds out one by one which of its connections are lost.
    asyncio.run(eventually(lambda: exchange(server)))


async def exchange(server: Server) -> None:
    async with Clients(server.base_url) as clients:
        await room_flows.send(await room_flows.converse(clients, SHARED_SECRET))
