"""The cost of nginx and of the table of routes: against a worker asked directly, and by row."""

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.wrk import middle, wrk
from ganglion.files.templates import fill
from ganglion.routing.nginx_maps import maps
from ganglion.routing.table import ROUTES, table
from ganglion.settings import environment
from ganglion.supervisor.watchdog import children_of
from ganglion.topology import topology
from tests.harness import Server, free_port, wait_until

VERSIONS = "/_matrix/client/versions"
# The headers that nginx adds. A worker reads them in any case.
FORWARDED = ("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http")
# A path for the first row, one for the last, and one that no row matches.
PATHS = {
    "first row": "/_matrix/client/v3/rooms/!a:b/typing/@a:b",
    "last row": "/_matrix/federation/v1/version",
    "no row": "/_matrix/client/v3/unheard_of",
}


def through_nginx(arguments: argparse.Namespace) -> None:
    """Requests per second of one worker, asked through nginx and directly, turn by turn."""
    variables = {"SYNAPSE_USE_UNIX_SOCKET": "no", "SYNAPSE_LOG_LEVEL": "WARNING"}
    variables["INTERNAL_PORT_BASE"] = str(free_port())
    with Server("client_reader", variables) as server:
        server.start()
        worker = f"http://127.0.0.1:{int(variables['INTERNAL_PORT_BASE']) + 3}{VERSIONS}"
        ways = {"through nginx": f"{server.base_url}{VERSIONS}", "worker": worker}
        found: dict[str, list[float]] = {way: [] for way in ways}
        for url in ways.values():
            wrk(url, seconds=2, connections=arguments.connections)
        for _ in range(arguments.rounds):
            for way, url in ways.items():
                load = wrk(
                    url,
                    seconds=arguments.seconds,
                    connections=arguments.connections,
                    headers=FORWARDED,
                )
                assert load.errors == 0, f"{load.errors} requests failed {way}"
                found[way].append(load.per_second)
        server.stop()
    ratios = [a / b for a, b in zip(found["through nginx"], found["worker"], strict=True)]
    for way, values in found.items():
        print(f"{VERSIONS} {way}: {middle(values)} requests/s")
    print(f"through nginx / worker: {middle(ratios)}")


CONFIGURATION = """
daemon off; worker_processes 1; pcre_jit on; pid {root}/pid; error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off; map_hash_bucket_size 256; map_hash_max_size 4096;
    {maps}
    server {{
        listen 127.0.0.1:{port};
        location / {{ add_header X-Target "{value}"; return 204; }}
    }}
}}
"""


def by_the_row(arguments: argparse.Namespace) -> None:
    """The time that the maps of `full` add to a response of nginx's own."""
    layout = topology.build(environment.from_environ({"WORKERS": "full"}, str))
    rendered = fill("maps.conf.j2", maps=maps(table(layout), ()))
    baseline, cases = "nothing", {"nothing": ("$request_uri", PATHS["no row"])}
    cases |= {name: ("$ganglion_target", path) for name, path in PATHS.items()}
    took: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(arguments.rounds):
        for name, (value, path) in cases.items():
            took[name].append(_microseconds(rendered, value, path, arguments))
    print(f"{len(ROUTES)} rows; processor time of nginx for each request:")
    for name, values in took.items():
        extra = statistics.median(values) - statistics.median(took[baseline])
        print(f"  {name}: {middle(values)} µs, {extra:+.1f} µs")


def _microseconds(rendered: str, value: str, path: str, arguments: argparse.Namespace) -> float:
    """Processor time that nginx takes for one request."""
    root = Path(tempfile.mkdtemp())
    port = free_port()
    text = CONFIGURATION.format(root=root, maps=rendered, port=port, value=value)
    (root / "nginx.conf").write_text(text, encoding="utf-8")
    nginx = subprocess.Popen(
        ["nginx", "-e", "stderr", "-c", str(root / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}{path}"
        wait_until("nginx", lambda: _answers(url), 10)
        before = _processor_time(nginx.pid)
        started = time.monotonic()
        load = wrk(url, seconds=arguments.seconds, connections=8)
        requests = load.per_second * (time.monotonic() - started)
        return (_processor_time(nginx.pid) - before) / requests * 1e6
    finally:
        nginx.terminate()
        nginx.wait(10)
        shutil.rmtree(root)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own, over HTTP
            return bool(answer.status == 204)
    except OSError:
        return False


def _processor_time(master: int) -> float:
    """Seconds that the workers of an nginx have run."""
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in children_of(master)]
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    return sum(int(field[11]) + int(field[12]) for field in fields) / 100


def main(words: Sequence[str]) -> int:
    """Run both."""
    parser = argparse.ArgumentParser(prog="scripts/bench routing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--seconds", type=int, default=5, help="how long each time (5)")
    parser.add_argument("--connections", type=int, default=16, help="clients at once (16)")
    arguments = parser.parse_args(words)
    through_nginx(arguments)
    by_the_row(arguments)
    return 0
