"""Load by wrk, a compiled generator that leaves the server's processors to the server."""

import re
import statistics
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one run of wrk measured: requests per second, latencies in milliseconds, errors."""

    per_second: float
    median: float
    p99: float
    errors: int


def wrk(
    url: str, *, seconds: float, connections: int, threads: int = 1, headers: tuple[str, ...] = ()
) -> Load:
    """Ask for a URL over and over for a number of seconds. Headers are `Name: value`.

    Raises CalledProcessError when wrk cannot run, ValueError when it says nothing of use.
    """
    output = subprocess.run(
        [
            "wrk",
            "--latency",
            f"-t{threads}",
            f"-c{connections}",
            f"-d{seconds}s",
            *(word for header in headers for word in ("--header", header)),
            url,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        per_second=float(_found(r"Requests/sec:\s+([\d.]+)", output)),
        median=_milliseconds(_found(r"^ +50% +(\S+)$", output)),
        p99=_milliseconds(_found(r"^ +99% +(\S+)$", output)),
        errors=int(bad[1]) if bad else 0,
    )


def _found(pattern: str, output: str) -> str:
    found = re.search(pattern, output, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk printed no {pattern}:\n{output}")
    return found[1]


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise ValueError(f"wrk printed {text} for a latency")
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[found[2]]


def middle(values: list[float]) -> str:
    """The median, with the least and the most behind it."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"
