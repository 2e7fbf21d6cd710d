"""Ports outlive their processes too: below 1024, of IPv6, and those between processes."""

import os
import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.harness import WITHIN, Server, free_port, wait_until
from tests.matrix import CLIENT
from tests.processes import descendants, identity
from tests.raw_http import raw_request

WHOAMI = f"{CLIENT}/account/whoami"
# Main and one worker have three ports each.
PORTS = 6
LOW = range(600, 1024)
LOOPBACKS = ("127.0.0.1", "::1")


def low_port() -> int:
    """A free port below 1024; a higher one where this process may not bind them."""
    for port in random.sample(LOW, 50):
        try:
            for family, address in zip((socket.AF_INET, socket.AF_INET6), LOOPBACKS, strict=True):
                with socket.socket(family) as tried:
                    tried.bind((address, port))
        except PermissionError:
            break
        except OSError:
            continue
        return port
    return free_port()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    environment = {
        "SYNAPSE_USE_UNIX_SOCKET": "no",
        "INTERNAL_PORT_BASE": str(free_port(PORTS)),
        "BIND_ADDRESS": "*",
        "GANGLION_PREFORK": "no",
    }
    with Server("client_reader", environment) as started:
        started.http_port = low_port()
        started.environment["HTTP_PORT"] = str(started.http_port)
        started.start()
        yield started


def ask(address: str, port: int) -> str:
    """The status of a request over a new connection, or the error."""
    connection = HTTPConnection(address, port, timeout=WITHIN)
    try:
        connection.request("GET", WHOAMI)
        return str(connection.getresponse().status)
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def kill(server: Server, name: str) -> int:
    """Kill a program, and wait for the end of its workers, which may have taken a request."""
    before = server.pid(name)
    family = (before, *descendants(before))
    os.kill(before, signal.SIGKILL)
    wait_until("their end", lambda: not any(identity(pid) for pid in family))
    return before


@pytest.mark.parametrize("name", ["main", "client_reader1"])
def test_connections_to_a_port_wait_for_the_next_process(server: Server, name: str) -> None:
    order = ["main", "client_reader1"].index(name)
    port = int(server.environment["INTERNAL_PORT_BASE"]) + order
    assert raw_request(port, "GET", "/health").status == 200
    before = kill(server, name)
    assert raw_request(port, "GET", "/health").status == 200
    assert server.pid(name) != before


@pytest.mark.parametrize("address", LOOPBACKS)
def test_a_killed_proxy_refuses_nobody(server: Server, address: str) -> None:
    assert ask(address, server.http_port) == "401"
    before = kill(server, "nginx")
    assert ask(address, server.http_port) == "401"
    assert server.pid("nginx") != before


def test_a_restart_of_all_fails_no_request(server: Server) -> None:
    found: Counter[str] = Counter()
    done = threading.Event()

    def go_on(address: str) -> None:
        while not done.is_set():
            found[ask(address, server.http_port)] += 1

    threads = [threading.Thread(target=go_on, args=[address]) for address in LOOPBACKS]
    for thread in threads:
        thread.start()
    try:
        answer = server.ganglion("restart", "--all")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert answer.returncode == 0, answer.stderr
    assert set(found) == {"401"}


def test_a_public_port_that_is_taken_ends_the_start() -> None:
    """In nginx's words, which name the port."""
    with Server("none") as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server.environment["HTTP_PORT"] = str(port)
        server.launch()
        assert server.process is not None
        assert server.process.wait(timeout=WITHIN) == 1
        log = server.log.text()
        assert f"127.0.0.1:{port}" in log
        assert "Address already in use" in log
