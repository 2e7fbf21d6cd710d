"""Logs of a running server: JSON from every program, one ID through the processes, levels."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import GANGLION, SHARED_SECRET, Server, wait_until
from tests.raw_http import raw_request

PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("event_creator,event_persister", {"LOG_FORMAT": "json"}) as server:
        server.start()
        yield server


def register(server: Server, name: str) -> dict[str, Any]:
    body = json.dumps(
        {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    ).encode()
    answer = raw_request(
        server.http_port, "POST", "/_matrix/client/v3/register", {"User-Agent": "a\x1b[2Jb"}, body
    )
    found: dict[str, Any] = json.loads(answer.body)
    assert answer.status == 200, found
    return found


def create_room(server: Server, token: str) -> str:
    """Create a room with the token in the query. Return the ID of the request."""
    path = f"/_matrix/client/v3/createRoom?access_token={token}"
    answer = raw_request(server.http_port, "POST", path, {}, b"{}")
    assert answer.status == 200
    found: str = answer.headers["X-Request-ID"]
    return found


def records(server: Server, *words: str) -> list[dict[str, Any]]:
    answer = server.ganglion("logs", "--json", *words)
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_one_id_leads_through_the_processes(server: Server) -> None:
    request = create_room(server, register(server, "way")["access_token"])

    def finished() -> list[dict[str, Any]]:
        found = records(server, "--request", request)
        done = [item for item in found if "createRoom" in item["message"]]
        return found if done else []

    found = wait_until("line of the request", finished)
    assert {"event_creator1", "event_persister1"} <= {item["process"] for item in found}
    assert {item["request"].partition("-")[0] for item in found} == {request}
    answer = server.ganglion("logs", "--request", request)
    assert answer.stderr.startswith("event_creator1 (")
    assert " → event_persister1 (" in answer.stderr


@pytest.mark.parametrize(
    ("given", "taken"),
    [("client-4711", True), ("short", False), ("a" * 65, False), ("x y z 1 2 3 4", False)],
)
def test_a_clients_own_id_is_taken_if_it_is_plain(
    server: Server, given: str, *, taken: bool
) -> None:
    answer = server.get("/_matrix/client/versions", {"X-Request-ID": given})
    assert (answer.headers["X-Request-ID"] == given) is taken


@contextlib.contextmanager
def following(server: Server, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*GANGLION, "logs", "--follow", "--json", *words],
        env=server.environment,
        cwd=server.root,
        stdout=subprocess.PIPE,
        text=True,
    ) as follower:
        try:
            yield follower
        finally:
            follower.kill()


def test_lines_are_followed_until_the_follower_is_interrupted(server: Server) -> None:
    with following(server, "main") as follower:
        assert follower.stdout is not None
        # Lines of the past come first, so the follower follows once it has printed one.
        first = json.loads(follower.stdout.readline())
        request = server.get("/_matrix/client/versions").headers["X-Request-ID"]
        found = next(line for line in follower.stdout if request in line)
        assert {first["process"], json.loads(found)["process"]} == {"main"}
        follower.send_signal(signal.SIGINT)
        follower.stdout.read()
        assert follower.wait() == 0


def test_a_follower_that_stops_reading_or_dies_holds_nothing_up(server: Server) -> None:
    with following(server) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.send_signal(signal.SIGSTOP)
        # Longer than all that its socket, its pipe and the supervisor's queue for it can hold.
        agent = {"User-Agent": "x" * 12_000}
        for _ in range(200):
            assert server.get("/_matrix/client/versions", agent).status == 200
        assert records(server, "main", "--lines", "1")
    assert server.get("/_matrix/client/versions").status == 200
    assert records(server, "main", "--lines", "1")


def test_the_lines_of_a_process_that_was_killed_are_kept(server: Server) -> None:
    request = create_room(server, register(server, "kept")["access_token"])
    # A process that is killed loses what it has not written yet: log_handler.DELAY.
    wait_until(
        "line of the writer", lambda: records(server, "event_persister1", "--request", request)
    )
    os.kill(server.pid("event_persister1"), signal.SIGKILL)
    found = records(server, "event_persister1", "--request", request)
    assert {item["process"] for item in found} == {"event_persister1"}
    wait_until(
        "end of the writer",
        lambda: [
            item
            for item in records(server, "supervisor", "--level", "WARNING")
            if "exited: event_persister1" in item["message"]
        ],
    )
    server.wait_ready()


def test_an_error_of_nginx_has_an_id(server: Server) -> None:
    assert len(server.get("/nowhere").headers["X-Request-ID"]) == 32


def test_a_request_that_reaches_no_process_is_logged_by_nginx(server: Server) -> None:
    path = "/_matrix/client/versions?access_token=syt_YQ_abcdefghijkl"
    answer = raw_request(server.http_port, "GET", path, {"Transfer-Encoding": "gzip"})
    assert answer.status == 501
    request = answer.headers["X-Request-ID"]
    (found,) = wait_until("line of nginx", lambda: records(server, "--request", request))
    assert (found["process"], found["level"]) == ("nginx", "WARNING")
    assert 'versions?access_token=<redacted> HTTP/1.1" 501 ' in found["message"]


def test_a_level_changes_while_the_server_runs(server: Server) -> None:
    answer = server.ganglion("logs", "--set-level", "event_creator1", "DEBUG")
    assert answer.returncode == 0, answer.stderr

    def debug() -> list[dict[str, Any]]:
        server.get("/_matrix/client/versions")
        found = records(server, "event_creator1")
        return [item for item in found if item["level"] == "DEBUG"]

    wait_until("DEBUG line of event_creator1", debug)
    assert server.ganglion("logs", "--set-level", "event_creator1", "INFO").returncode == 0
    wrong = server.ganglion("logs", "--set-level", "nobody", "DEBUG")
    assert wrong.returncode == 2
    assert "is not a process here" in wrong.stderr


def test_every_line_is_an_object_without_secrets(server: Server) -> None:
    token = register(server, "secret")["access_token"]
    create_room(server, token)
    # A line of nginx's error log, with the token that a client put into its query.
    with socket.create_connection(("127.0.0.1", server.http_port)) as connection:
        connection.sendall(
            f"GET /_matrix/client/v3/sync?access_token={token} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: 5000000000000\r\n\r\n".encode()
        )
        connection.recv(1000)
    server.log.wait_for("too large body")
    server.log.wait_for("createRoom.access_token=<redacted>")
    text = server.log.text()
    found = [json.loads(line) for line in text.splitlines()]
    programs = {"main", "nginx", "postgres", "redis", "supervisor", "ganglion", "event_creator1"}
    assert programs <= {item["process"] for item in found}
    assert "createRoom?access_token=<redacted>" in text
    for secret in (token, PASSWORD, SHARED_SECRET, "\x1b"):
        assert secret not in text
