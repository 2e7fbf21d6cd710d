"""Prometheus's rules and Grafana's dashboard, with a real Prometheus and a real server."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from nio import RoomCreateResponse

from tests.harness import Server, wait_until
from tests.matrix import Clients, ok
from tests.prometheus import MONITORING, Prometheus, prometheus
from tests.raw_http import raw_request
from tests.room_flows import say

TOKEN = "token-of-the-control-port"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
HERE = Path(__file__).parent
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    given = {"SYNAPSE_ENABLE_METRICS": "yes", "CONTROL_TOKEN": TOKEN}
    with Server("client_reader, event_persister", given) as found:
        found.start()
        yield found
        found.stop()


@pytest.fixture(scope="module")
def scraping(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    target = f"127.0.0.1:{server.control_port}"
    with prometheus(tmp_path_factory.mktemp("prometheus"), target, TOKEN) as found:
        wait_until("scrape", lambda: found.query('up{job="ganglion"} == 1'))
        # A rate needs two scrapes with the series, and traffic between them.
        asyncio.run(use(server, "alice"))
        sent = 'sum(ganglion_nginx_requests_total{worker="client_reader1"})'
        wait_until("counted requests", lambda: found.query(sent))
        asyncio.run(use(server, "bob"))
        grown = f"sum(increase({sent[4:-1]}[1m])) > 0"
        wait_until("more of them", lambda: found.query(grown))
        yield found


async def use(server: Server, name: str) -> None:
    """Make a user, who sends a message and syncs."""
    async with Clients(server.base_url) as clients:
        user = await clients.register(name)
        created = ok(await user.nio.room_create(), RoomCreateResponse)
        await say(user, str(created.room_id), "Hello")
        await user.sync()


def filled(expression: str, server: Server) -> str:
    """Put values in for Grafana's variables."""
    values = {
        "$__rate_interval": "1m",
        "$instance": f"127.0.0.1:{server.control_port}",
        "$process": ".*",
    }
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_query_of_the_dashboard_has_data(
    server: Server, scraping: Prometheus, panel: dict[str, Any]
) -> None:
    for target in panel["targets"]:
        expression = filled(target["expr"], server)
        assert "$" not in expression
        found = wait_until(f"data of {expression}", partial(scraping.query, expression), 30)
        assert all(item["value"][1] != "NaN" for item in found) or "histogram" in expression


def test_every_alert_can_be_evaluated_and_a_healthy_server_has_none(scraping: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]]:
        (group,) = scraping.get("rules")["groups"]
        return group["rules"] if all(rule["health"] != "unknown" for rule in group["rules"]) else []

    rules = wait_until("evaluated rules", evaluated)
    assert {rule["name"]: rule["health"] for rule in rules} == {
        rule["alert"]: "ok" for rule in ALERTS
    }
    assert scraping.get("alerts")["alerts"] == []
    # Each series that a rule names is there.
    for rule in ALERTS:
        for name in set(re.findall(r"\bganglion_\w+", rule["expr"])):
            assert scraping.query(name), name


def test_promtool_accepts_the_rules_and_the_scrape(server: Server) -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", MONITORING / "alerts.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    answer = raw_request(
        server.control_port, "GET", "/metrics", {"Authorization": f"Bearer {TOKEN}"}
    )
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=answer.body.decode(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    # It complains about names of Synapse's own series.
    assert "error while" not in done.stderr
    assert "ganglion_" not in done.stderr
    assert "synapse_" in done.stderr


def test_the_alerts_fire_for_their_faults() -> None:
    """promtool evaluates the rules over invented series."""
    files = sorted(HERE.glob("alerts*_test.yml"))
    done = subprocess.run(
        ["promtool", "test", "rules", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    fired = {
        case["alertname"]
        for file in files
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in ALERTS}, "an alert without a test"
