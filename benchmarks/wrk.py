"""Load by wrk, a compiled generator that leaves the server's processors to the server."""

import json
import re
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("requests.lua")
# Logins that wait for each other on few cores take seconds, and are no errors.
TIMEOUT = "30s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The measurements of one run of wrk.

    `errors` counts answers that are no success and broken, refused or unanswered connections.
    Latencies are in milliseconds. wrk sends a connection's next request when the last is answered,
    so they are those of clients that wait, not of requests that come in at a fixed rate.
    """

    requests: int
    per_second: float
    p50: float
    p95: float
    p99: float
    errors: int


def wrk(
    url: str,
    *,
    seconds: float,
    connections: int,
    threads: int = 1,
    requests: Path | None = None,
    prefix: str = "",
    headers: tuple[str, ...] = (),
) -> Load:
    """Ask for a URL over and over for a number of seconds, or for the requests of a file.

    Headers, for the URL alone, are `Name: value`.

    requests.lua says what the file looks like. Raises CalledProcessError when wrk cannot run,
    ValueError when it says nothing of use.
    """
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", TIMEOUT]
    command += [word for header in headers for word in ("--header", header)]
    command += ["-s", str(SCRIPT), url]
    if requests is not None:
        command += ["--", str(requests), prefix, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return parse(done.stdout + done.stderr)


def parse(output: str) -> Load:
    """Read the line that requests.lua writes at the end. Raises ValueError where there is none."""
    found = re.search(r"^summary (\{.*\})$", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk printed no summary:\n{output}")
    summary: dict[str, int] = json.loads(found[1])
    if summary["requests"] == 0:
        raise ValueError(f"nothing was answered:\n{output}")
    return Load(
        requests=summary["requests"],
        per_second=summary["requests"] / summary["microseconds"] * 1e6,
        p50=summary["p50"] / 1000,
        p95=summary["p95"] / 1000,
        p99=summary["p99"] / 1000,
        errors=summary["errors"],
    )


def middle(values: list[float]) -> str:
    """The median, with the least and the most behind it."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"
