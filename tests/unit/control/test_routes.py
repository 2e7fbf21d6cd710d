"""The control application's routes, without any process behind them."""

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from ganglion.control.application import Application
from ganglion.control.refusal import Refusal
from ganglion.control.test.processes import Processes
from ganglion.control.test.routes import Context, routes
from tests.plans import control_config


@dataclass(slots=True)
class FakeResets:
    """Counts resets, or fails."""

    error: Exception | None = None
    done: int = 0

    def reset(self) -> float:
        if self.error is not None:
            raise self.error
        self.done += 1
        return 0.12345


@dataclass(slots=True)
class Reply:
    """An application's response."""

    status: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


def call(
    resets: Any,
    path: str,
    body: bytes = b"",
    method: str = "POST",
    kind: str | None = "application/json",
) -> Reply:
    config = control_config()
    context = Context(config=config, processes=Processes(config), resets=resets)
    application = Application(routes(context))
    reply = Reply()

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        reply.status, reply.headers = status, dict(headers)

    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(body)}
    if kind is not None:
        environ["CONTENT_TYPE"] = kind
    content = b"".join(application(environ, start))
    assert reply.headers["Content-Length"] == str(len(content))
    reply.body = json.loads(content)
    return reply


def test_the_configuration_is_read_as_it_was_rendered() -> None:
    found = control_config()
    assert found.socket == "/run/ganglion/control/control.sock"
    assert dict(found.agents) == {
        "main": "/run/ganglion/sockets/main.test.sock",
        "pusher1": "/run/ganglion/sockets/pusher1.test.sock",
    }
    assert found.database.administrator == "postgres"
    assert found.media == "/data/media_store"


def test_a_reset_is_answered_with_its_seconds() -> None:
    resets = FakeResets()
    for body in (b"", b"{}", b" \n"):
        reply = call(resets, "/test/reset", body)
        assert (reply.status, reply.body) == ("200 OK", {"seconds": 0.123})
    assert resets.done == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        (
            "GET", "/test/reset", b"", "405 Method Not Allowed",
            "/test/reset takes only POST; send it with curl --json '{}' …/test/reset",
        ),
        ("POST", "/test/reset", b"{", "400 Bad Request", "the body is not JSON: "),
        (
            "POST", "/test/reset", b"[1]", "400 Bad Request",
            'the body is not a JSON object; write {"name": value}',
        ),
        (
            "POST", "/test/reset", b'{"x": 1}', "400 Bad Request",
            "unknown field 'x'; send no body",
        ),
        (
            "POST", "/test/users", b'{"number": 1}', "400 Bad Request",
            "unknown field 'number'; write count, prefix, password, admin",
        ),
        (
            "POST", "/test/resets", b"", "404 Not Found",
            "unknown path /test/resets; use /test/reset, /test/users, ",
        ),
        ("POST", "/test/workers/a/b/kill", b"", "404 Not Found", "/test/workers/name/action, "),
        (
            "POST", "/test/workers/x1/kill", b"", "404 Not Found",
            "unknown worker 'x1'; use one of main, pusher1",
        ),
        (
            "POST", "/test/workers/x1/slow", b'{"milliseconds": 1}', "404 Not Found",
            "unknown worker 'x1'; use one of main, pusher1",
        ),
        (
            "POST", "/test/workers/main/slow", b'{"milliseconds": true}', "400 Bad Request",
            "milliseconds must be a whole number from 0 to 60000; write",
        ),
        (
            "POST", "/test/workers/main/slow", b'{"milliseconds": -1}', "400 Bad Request",
            'from 0 to 60000; write {"milliseconds": N}',
        ),
        (
            "POST", "/test/users", b'{"count": 0}', "400 Bad Request",
            'count must be a whole number from 1 to 10000; write {"count": N}',
        ),
        (
            "POST", "/test/users", b'{"prefix": ""}', "400 Bad Request",
            'prefix must be text that is not empty; write {"prefix": "…"}',
        ),
        (
            "POST", "/test/users", b'{"admin": 1}', "400 Bad Request",
            'admin must be true or false; write {"admin": true}',
        ),
        (
            "POST", "/test/barrier", b'{"timeout": "1"}', "400 Bad Request",
            'timeout must be a number of seconds above 0 and up to 600; write {"timeout": N}',
        ),
        # No process is running.
        (
            "POST", "/test/workers/main/kill", b"", "409 Conflict",
            "the supervisor is not running now",
        ),
        ("POST", "/test/users", b"", "409 Conflict", "main is not running now"),
    ],
)  # fmt: skip
def test_an_impossible_request_is_answered_with_the_reason_and_the_fix(
    method: str, path: str, body: bytes, status: str, error: str
) -> None:
    reply = call(FakeResets(), path, body, method)
    assert reply.status == status
    assert error in reply.body["error"]
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers.get("Allow") == ("POST" if "405" in status else None)


@pytest.mark.parametrize(
    "kind",
    [
        None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
        "application/jsonp", "text/plain; application/json", "text/plain, application/json",
    ],
)  # fmt: skip
def test_only_json_is_accepted(kind: str | None) -> None:
    resets = FakeResets()
    reply = call(resets, "/test/reset", b"{}", kind=kind)
    assert reply.status == "415 Unsupported Media Type"
    assert reply.body["error"].startswith("the Content-Type must be application/json; send it")
    assert resets.done == 0


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_name_its_encoding(kind: str) -> None:
    assert call(FakeResets(), "/test/reset", kind=kind).status == "200 OK"


def test_a_failure_is_answered_with_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    reply = call(FakeResets(error=Refusal(409, "a client is connected")), "/test/reset")
    assert (reply.status, reply.body) == ("409 Conflict", {"error": "a client is connected"})
    reply = call(FakeResets(error=OSError("no room")), "/test/reset")
    assert reply.status == "500 Internal Server Error"
    assert reply.body == {"error": "OSError: no room"}
    assert "Traceback" in capsys.readouterr().err
