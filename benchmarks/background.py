"""Requests at a fixed rate, whatever the answers take, from a process of its own.

    python -m benchmarks.background URL RATE CLIENTS FILE

FILE is as requests.lua reads it; client K of CLIENTS takes the lines K, K + CLIENTS, …. It prints a
line when it begins, runs until SIGTERM, and then prints a line of JSON: the rate that it reached,
per second, and the number of requests that failed.
"""

import contextlib
import http.client
import json
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.traffic import lines_of

WITHIN = 60.0
# In seconds, until a load that was started is steady.
RAMP = 1.0
BEGUN = "begun\n"


@dataclass(slots=True, kw_only=True)
class Reached:
    """The rate of a load, per second, and its failed requests; known when it has ended."""

    per_second: float = 0.0
    errors: int = 0


@contextlib.contextmanager
def load(url: str, rate: float, clients: int, requests: Path) -> Iterator[Reached]:
    """Have a server asked at this rate, per second. Zero is no load."""
    reached = Reached()
    if not rate:
        yield reached
        return
    command = [sys.executable, "-P", "-m", __name__, url, str(rate), str(clients), str(requests)]
    root = str(Path(__file__).resolve().parents[1])
    environment = {"PYTHONPATH": f"{root}:{root}/entrypoint"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == BEGUN, "the load did not begin"
        try:
            time.sleep(RAMP)
            yield reached
        finally:
            asking.terminate()
            output, _ = asking.communicate(timeout=WITHIN)
        said = json.loads(output)
        reached.per_second, reached.errors = said["per_second"], said["errors"]


class Client(threading.Thread):
    """One connection, whose requests have fixed times."""

    def __init__(self, url: str, rows: list[tuple[str, ...]], first: float, every: float) -> None:
        """Send the first request after `first` seconds, and one after each further `every`."""
        super().__init__(daemon=True)
        self._host = urllib.parse.urlsplit(url).netloc
        self._rows = rows
        self._due = time.monotonic() + first
        self._every = every
        self._since: dict[str, str] = {}
        self._prefix = secrets.token_hex(4)
        self.sent = 0
        self.errors = 0

    def run(self) -> None:
        """Send requests until the process ends."""
        connection = http.client.HTTPConnection(self._host, timeout=WITHIN)
        while True:
            time.sleep(max(0.0, self._due - time.monotonic()))
            # A request whose time has passed long ago is dropped: the server is to have no burst.
            self._due = max(self._due + self._every, time.monotonic() - self._every)
            try:
                ok = self._send(connection, self._rows[self.sent % len(self._rows)])
            except (OSError, http.client.HTTPException):
                connection.close()
                ok = False
            self.sent += 1
            self.errors += not ok

    def _send(self, connection: http.client.HTTPConnection, row: tuple[str, ...]) -> bool:
        method, path, token, since, body = row
        path = path.replace("{n}", f"{self._prefix}-{self.sent}")
        path = path.replace("{since}", self._since.get(token, since))
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        text = response.read()
        if "since=" in path and response.status == 200:
            self._since[token] = json.loads(text)["next_batch"]
        return response.status == 200


def main(words: list[str]) -> None:
    """Ask until SIGTERM."""
    url, rate, clients, file = words[0], float(words[1]), int(words[2]), Path(words[3])
    rows = lines_of(file.read_text(encoding="utf-8"))
    every = clients / rate
    asking = [
        Client(url, rows[number::clients], every * number / clients, every)
        for number in range(clients)
    ]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    began = time.monotonic()
    for client in asking:
        client.start()
    print(BEGUN, end="", flush=True)
    ended.wait()
    seconds = time.monotonic() - began
    sent, errors = sum(each.sent for each in asking), sum(each.errors for each in asking)
    print(json.dumps({"per_second": sent / seconds, "errors": errors}))


if __name__ == "__main__":
    main(sys.argv[1:])
