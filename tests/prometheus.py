"""A real Prometheus for a test, with the files of compose/monitoring."""

import contextlib
import json
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import yaml

from tests.harness import WITHIN, free_port, wait_until
from tests.raw_http import raw_request

MONITORING = Path(__file__).resolve().parents[1] / "compose" / "monitoring"


class Prometheus:
    """One that scrapes every second."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        until = time.monotonic() + WITHIN
        while True:
            try:
                answer = raw_request(self._port, "GET", f"/api/v1/{path}?{query}")
                break
            except (OSError, HTTPException):
                # It is still starting.
                assert time.monotonic() < until
                time.sleep(0.2)
        found = json.loads(answer.body)
        assert found["status"] == "success", f"{parameters}: {found}"
        return found["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression at this moment."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found


@contextlib.contextmanager
def prometheus(directory: Path, target: str, token: str) -> Iterator[Prometheus]:
    """Scrape `target`, a host and a port, until the end of the `with`."""
    (directory / "token").write_text(token)
    (directory / "alerts.yml").write_bytes((MONITORING / "alerts.yml").read_bytes())
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    job["scrape_timeout"] = "1s"
    job["authorization"]["credentials_file"] = str(directory / "token")
    job["static_configs"] = [{"targets": [target]}]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ],
        stdin=subprocess.DEVNULL,
    )
    found = Prometheus(port)
    try:
        wait_until("answer of Prometheus", lambda: _answers(port))
        yield found
    finally:
        process.terminate()
        process.wait(timeout=60)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return raw_request(port, "GET", "/-/ready").status == 200
    return False
