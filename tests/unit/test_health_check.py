"""The health check of the image, run by bash as Docker runs it, against stand-ins."""

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.harness import free_port

DOCKERFILE = Path(__file__).resolve().parents[2] / "Dockerfile"


def command() -> list[str]:
    """Return the words of HEALTHCHECK's CMD."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", "")
    (line,) = (line for line in text.splitlines() if line.startswith("HEALTHCHECK "))
    found: list[str] = json.loads(line.partition(" CMD ")[2])
    return found


@contextlib.contextmanager
def answering(status: int | None, body: str = "") -> Iterator[tuple[int, list[str]]]:
    """A server that answers one way, and the paths that it was asked for. None for no server."""
    if status is None:
        yield free_port(), []
        return
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            # A server in which others stand in is not ready, and its health is good.
            stands_in = self.path == "/health" and body.startswith("degraded")
            self.send_response(200 if stands_in else status or 0)
            self.end_headers()
            # The check may have read enough.
            with contextlib.suppress(OSError):
                self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(HTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that closed its connection is no error."""

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("control", "public", "healthy", "public_asked"),
    [
        ((200, '{"ready": true}'), 503, True, False),
        ((503, '{"ready": false}'), 200, False, False),
        ((503, "degraded: client_reader1 is stopped"), 503, True, False),
        # GANGLION_CONTROL=no: nothing listens there, or nginx serves metrics.
        (None, 200, True, True),
        (None, 502, False, True),
        (None, None, False, False),
        ((503, "the control application is not up yet"), 200, False, False),
        ((404, "See /metrics/NAME"), 200, True, True),
    ],
)
def test_a_server_is_healthy_if_it_is_ready(
    *, control: tuple[int, str] | None, public: int | None, healthy: bool, public_asked: bool
) -> None:
    with (
        answering(*(control or (None, ""))) as (control_port, control_asked),
        answering(public) as (port, asked),
    ):
        ports = {"CONTROL_PORT": str(control_port), "HTTP_PORT": str(port)}
        done = check(**ports)
    assert (done.returncode == 0) == healthy
    assert done.stderr == ""
    assert asked == (["/health"] if public_asked else [])
    further = ["/health"] if control and control[0] == 503 else []
    assert control_asked == (["/ready", *further] if control else [])


def check(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(), env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, timeout=60,
        check=False, text=True,
    )  # fmt: skip


def test_the_words_of_the_server_are_printed_for_docker_inspect() -> None:
    words = "failing: postgres does not answer: no response in time"
    with answering(503, words) as (port, _):
        done = check(CONTROL_PORT=str(port))
    assert done.stdout == f"/health at 127.0.0.1:{port} answers 503 {words}\n"


def test_a_server_that_accepts_and_does_not_answer_is_unhealthy() -> None:
    """As an nginx that is frozen. The check ends before Docker ends it, with the reason."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        done = check(CONTROL_PORT=str(port), HTTP_PORT=str(free_port()))
    assert done.returncode != 0
    assert done.stdout == f"/ready at 127.0.0.1:{port} does not answer \n"


def test_a_part_is_asked_for_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    with answering(200) as (one, first), answering(500) as (two, second):
        lines = [f"127.0.0.1 {one} /health", f"127.0.0.1 {two} /health"]
        (tmp_path / "conf" / "alive").write_text("".join(f"{line}\n" for line in lines))
        done = check(GANGLION_ONLY="main", GANGLION_RUN=str(tmp_path), CONTROL_PORT=str(one))
        assert done.returncode != 0
        (tmp_path / "conf" / "alive").write_text(f"{lines[0]}\n")
        assert check(GANGLION_ONLY="main", GANGLION_RUN=str(tmp_path)).returncode == 0
    assert (first, second) == (["/health", "/health"], ["/health"])


@pytest.mark.parametrize(
    ("only", "variable", "path"),
    [("nginx", "HTTP_PORT", "/.ganglion/alive"), ("main", "INTERNAL_PORT_BASE", "/health")],
)
def test_a_part_without_a_list_is_asked_too(only: str, variable: str, path: str) -> None:
    with answering(204) as (port, asked):
        run = {"GANGLION_RUN": "/nowhere", variable: str(port)}
        assert check(GANGLION_ONLY=only, **run).returncode == 0
    assert asked == [path]
