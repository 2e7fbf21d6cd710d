"""The control application of a server that is not in test mode."""

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ganglion.control.metrics.exposition import KIND
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
    answer = ask(server, "/processes", **BEARER)
    found = answer.json()["processes"] if answer.status == 200 else []
    return {item["name"]: item for item in found}


def test_every_process_is_shown(server: Server) -> None:
    found = processes(server)
    assert set(found) == {"postgres", "redis", "main", "client_reader1", "nginx", "control"}
    assert {name: item["pid"] for name, item in found.items()} == {
        name: server.pid(name) for name in found
    }
    assert all(item["ready"] and item["starts"] >= 1 for item in found.values())
    assert found["client_reader1"]["roles"] == ["client_reader"]


@pytest.mark.parametrize(
    "path",
    [
        "/processes",
        "/",
        "/metrics",
        "/metrics/main",
        "/metrics/worker/main",
        "/metrics/service_discovery",
        "/token",
    ],
)
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
    assert [target["targets"] for target in targets] == [["localhost:1"]] * 3
    found = []
    for target in targets:
        labels = target["labels"]
        only = labels.get("__param_only")
        path = f"{labels['__metrics_path__']}{f'?only={only}' if only else ''}"
        text = ask(server, path, **BEARER).body
        found.append((b"\nsynapse_build_info" in text, b"\nganglion_build_info" in text))
    assert found == [(True, False), (True, False), (False, True)]


def scrape(server: Server) -> dict[str, Metric]:
    answer = ask(server, "/metrics", **BEARER)
    assert (answer.status, answer.headers["Content-Type"]) == (200, KIND)
    found = {item.name: item for item in text_string_to_metric_families(answer.body.decode())}
    assert len(found) == answer.body.count(b"\n# TYPE "), "a name comes twice"
    return found


def values(found: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in found.samples
        if not sample.name.endswith(("_bucket", "_sum"))
    }


def test_one_scrape_has_every_process(server: Server) -> None:
    found = scrape(server)
    roles = {("main", "main"), ("client_reader1", "client_reader")}
    assert set(values(found["synapse_build_info"], "process", "role")) == roles
    # Each of Synapse's own names is there.
    for name in ("main", "client_reader1"):
        alone = ask(server, f"/metrics/worker/{name}", **BEARER).body.decode()
        assert {item.name for item in text_string_to_metric_families(alone)} <= set(found)
    programs = ("postgres", "redis", "main", "client_reader1", "nginx", "control")
    for name in ("up", "ready", "starts", "uptime_seconds", "resident_bytes"):
        assert {key[0] for key in values(found[f"ganglion_process_{name}"], "process")} == set(
            programs
        )
    failed = values(found["ganglion_scrape_failed"], "process")
    assert failed == {(name,): 0.0 for name in programs[:4]}
    assert values(found["ganglion_postgres_size_bytes"], "process")["postgres",] > 1_000_000
    assert values(found["ganglion_redis_clients"], "process")["redis",] >= 2
    assert values(found["ganglion_start_stage_seconds"], "stage")["workers",] > 0


def test_the_requests_that_nginx_passes_on_are_counted(server: Server) -> None:
    def counted() -> float:
        found = scrape(server).get("ganglion_nginx_requests")
        key = ("client_reads", "client_reader1", "200")
        return 0 if found is None else values(found, "route", "worker", "status").get(key, 0)

    before = counted()
    for _ in range(5):
        assert server.get("/_matrix/client/versions").status == 200
    wait_until("five requests more", lambda: counted() == before + 5)
    seconds = values(scrape(server)["ganglion_nginx_request_seconds"], "route", "worker")
    assert seconds["client_reads", "client_reader1"] >= 5
    # The questions of the watchdog and of readiness are no traffic.
    routes = values(scrape(server)["ganglion_nginx_requests"], "route", "status")
    assert ("main", "404") not in routes


def test_a_frozen_process_holds_up_no_scrape(server: Server) -> None:
    frozen = server.pid("client_reader1")
    os.kill(frozen, signal.SIGSTOP)
    try:
        found = scrape(server)
    finally:
        os.kill(frozen, signal.SIGCONT)
    failed = values(found["ganglion_scrape_failed"], "process")
    assert [name for (name,), value in failed.items() if value] == ["client_reader1"]
    assert set(values(found["synapse_build_info"], "process")) == {("main",)}
    assert values(found["ganglion_process_up"], "process")["client_reader1",] == 1


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
        ("GET", "/metrics?only=synapse", 400),
        ("POST", "/metrics", 405),
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

    def ended() -> str:
        """How the first process ended; nothing before the second one answers."""
        found = processes(server).get("control", {"starts": 1})
        return found["end"] if found["starts"] == 2 else ""

    wait_until("another process", ended)
