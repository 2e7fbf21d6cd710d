"""The control application of a server that is not in test mode."""

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, wait_until
from tests.raw_http import Answer, raw_request

TOKEN = "token-of-the-control-port"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("client_reader", {"SYNAPSE_ENABLE_METRICS": "yes"}) as found:
        token = found.root / "token"
        token.write_text(f"{TOKEN}\n")
        found.environment["CONTROL_TOKEN_FILE"] = str(token)
        found.start()
        wait_until("the control application", lambda: ask(found, "/live").status == 200)
        yield found
        found.stop()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> Answer:
    return raw_request(server.control_port, method, path, headers)


def processes(server: Server) -> dict[str, dict[str, Any]]:
    found = json.loads(ask(server, "/processes", **BEARER).body)
    return {item["name"]: item for item in found["processes"]}


def test_every_process_is_shown(server: Server) -> None:
    found = processes(server)
    assert set(found) == {"postgres", "redis", "main", "client_reader1", "nginx", "control"}
    assert {name: item["pid"] for name, item in found.items()} == {
        name: server.pid(name) for name in found
    }
    assert all(item["ready"] and item["starts"] >= 1 for item in found.values())
    assert found["client_reader1"]["roles"] == ["client_reader"]


@pytest.mark.parametrize("path", ["/processes", "/", "/metrics/main", "/metrics/worker/main",
                                  "/metrics/service_discovery", "/token"])  # fmt: skip
def test_everything_but_readiness_needs_the_token(server: Server, path: str) -> None:
    basic = base64.b64encode(f"prometheus:{TOKEN}".encode()).decode()
    for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic bm86bm8="}):
        assert ask(server, path, **headers).status == 401
    for headers in (BEARER, {"Authorization": f"Basic {basic}"}):
        assert ask(server, path, **headers).status == 200
    assert ask(server, "/live").status == 200


def test_prometheus_discovers_every_process(server: Server) -> None:
    host = {"Host": "localhost:1"}
    targets = json.loads(ask(server, "/metrics/service_discovery", **BEARER, **host).body)
    assert [target["targets"] for target in targets] == [["localhost:1"]] * 2
    for target in targets:
        path = target["labels"]["__metrics_path__"]
        assert b"synapse_build_info" in ask(server, path, **BEARER).body


def test_nothing_secret_is_in_any_answer(server: Server) -> None:
    directory = Path(server.run / "conf" / "secrets")
    secrets = {path.read_text().strip() for path in directory.iterdir()}
    assert TOKEN in secrets
    for path in json.loads(ask(server, "/", **BEARER).body)["paths"]:
        text = ask(server, path, **BEARER).body
        assert not [secret for secret in secrets if secret.encode() in text]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/processes", 405),
        ("DELETE", "/", 405),
        ("POST", "/test/reset", 404),
        ("POST", "/test/workers/main/kill", 404),
        ("GET", "/metrics/worker/http%3A%2F%2F127.0.0.1", 404),
        ("GET", "/metrics/worker/..%2f..%2ftoken", 404),
        ("GET", "/.ganglion/token", 404),
        ("GET", "/processes?x=1", 400),
    ],
)
def test_hostile_requests_find_nothing(server: Server, method: str, path: str, status: int) -> None:
    assert ask(server, path, method, **BEARER).status == status


def test_it_comes_back_and_the_server_goes_on_without_it(server: Server) -> None:
    pid = server.pid("control")
    if os.geteuid() == 0:
        # It has no rights that Synapse lacks.
        assert (
            Path(f"/proc/{pid}").stat().st_uid == Path(f"/proc/{server.pid('main')}").stat().st_uid
        )
    os.kill(pid, signal.SIGKILL)
    assert server.get("/health").status == 200
    wait_until("another process", lambda: ask(server, "/live").status == 200)
    wait_until("two starts", lambda: processes(server)["control"]["starts"] == 2)
    assert processes(server)["control"]["end"]
