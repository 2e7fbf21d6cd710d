"""The paths that read, without a server behind them."""

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ganglion.control.application import Answer, Application, Asked, View
from ganglion.control.asking import Probe
from ganglion.control.config import Watched
from ganglion.control.metrics.request_log import RequestLog
from ganglion.control.metrics.scrape import Scrapes
from ganglion.control.monitor import Monitor
from ganglion.control.page.sight import Sight
from ganglion.control.views import Seen, views
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology
from tests.plans import rendered

TOKEN = "a-token-of-a-test"


@dataclass(slots=True)
class Reply:
    """An application's response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""


def call(application: Application, path: str, method: str = "GET", **more: str) -> Reply:
    reply = Reply()

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        reply.status, reply.headers = int(status.split(maxsplit=1)[0]), dict(headers)

    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "wsgi.input": io.BytesIO(b""),
        **more,
    }
    reply.text = b"".join(application(environ, start)).decode()
    return reply


def shown(asked: Asked) -> Answer:
    return Answer(content=json.dumps({**asked.path, **asked.query}).encode())


APPLICATION = Application(
    (),
    (
        View(pattern="/open", answer=shown, open=True),
        View(pattern="/item/(?P<name>[a-z]+)", answer=shown, parameters=("lag", "format")),
    ),
    TOKEN,
)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"any:{password}".encode()).decode()


@pytest.mark.parametrize(
    "header",
    [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", basic(TOKEN)],
    ids=["bearer", "case", "basic"],
)
def test_the_token_opens_everything(header: str) -> None:
    reply = call(APPLICATION, "/item/x", HTTP_AUTHORIZATION=header)
    assert (reply.status, reply.text) == (200, '{"name": "x"}')


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Token {TOKEN}",
        basic("no"), "Basic %%%", "Basic " + base64.b64encode(b"\xff").decode(), "Bearer \udcff",
        f"Basic {base64.b64encode(TOKEN.encode()).decode()}",
    ],
)  # fmt: skip
def test_anything_else_opens_only_the_open_paths(header: str) -> None:
    reply = call(APPLICATION, "/item/x", HTTP_AUTHORIZATION=header)
    assert reply.status == 401
    assert TOKEN not in reply.text
    assert reply.headers["WWW-Authenticate"].startswith("Basic ")
    assert call(APPLICATION, "/open", HTTP_AUTHORIZATION=header).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_written(method: str) -> None:
    reply = call(APPLICATION, "/open", method)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_alone() -> None:
    reply = call(APPLICATION, "/open", "HEAD")
    assert (reply.status, reply.text, reply.headers["Content-Length"]) == (200, "", "2")


@pytest.mark.parametrize(
    "query", ["x=1", "lag=1&lag=2", "a&b", "&".join(["a=1"] * 20), "lag=" + "x" * 2000]
)
def test_unknown_repeated_and_long_parameters_are_rejected(query: str) -> None:
    authorized = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
    assert call(APPLICATION, "/item/x", QUERY_STRING=query, **authorized).status == 400


@pytest.mark.parametrize(
    "path",
    ["/item/../open", "/item/x/y", "/item/x\n", "//open", "/open/", "", "/\udcff", "/item/%00"],
)
def test_other_paths_do_not_exist(path: str) -> None:
    assert call(APPLICATION, path, HTTP_AUTHORIZATION=f"Bearer {TOKEN}").status == 404


def watched(tmp_path: Path) -> Watched:
    (control,) = (
        file
        for path, file in rendered({"WORKERS": "pusher", "GANGLION_RUN": str(tmp_path)}).items()
        if path == "control.json"
    )
    return Watched.load(control.content)


def nothing(_settings: Settings, _topology: Topology) -> dict[str, Probe]:
    return {}


def failing(_settings: Settings, _topology: Topology) -> dict[str, Probe]:
    return {"disk": lambda: "is full: 1 MB are free", "clock": lambda: None}


def views_of(
    tmp_path: Path,
    parts: Callable[[Settings, Topology], Mapping[str, Probe]] = nothing,
    token: str | None = None,
) -> tuple[View, ...]:
    found = replace(watched(tmp_path), token=token)
    monitor = Monitor(found, parts=parts)
    log = RequestLog(found.settings.paths.requests)
    scrapes, sight = Scrapes(found, log, monitor), Sight(found, log, monitor)
    return views(found, Seen(scrapes=scrapes, monitor=monitor, sight=sight))


def test_the_settings_are_read_as_they_were_rendered(tmp_path: Path) -> None:
    found = watched(tmp_path)
    assert found.settings.run == str(tmp_path)
    assert found.settings.given == frozenset()
    # The workers in force are in a file of their own.
    assert [process.name for process in found.topology().processes] == ["main"]
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "workers").write_text("pusher, synchrotron:2\n")
    names = [process.name for process in found.topology().processes]
    assert names == ["main", "pusher1", "synchrotron1", "synchrotron2"]
    (tmp_path / "conf" / "workers").unlink()
    assert len(found.topology().processes) == 4


def test_a_supervisor_that_does_not_answer_is_an_error_of_its_own(tmp_path: Path) -> None:
    application = Application((), views_of(tmp_path))
    assert call(application, "/live").status == 200
    reply = call(application, "/processes")
    assert reply.status == 503
    assert "the supervisor does not answer" in reply.text


def test_a_fault_is_told_in_json_and_in_words(tmp_path: Path) -> None:
    application = Application((), views_of(tmp_path, failing))
    missing = "does not answer: [Errno 2] No such file or directory"
    reply = call(application, "/health")
    value = json.loads(reply.text)
    assert (reply.status, value["state"]) == (503, "failing")
    assert value["problems"] == {"disk": "is full: 1 MB are free", "supervisor": missing}
    assert value["words"] == f"failing: disk is full: 1 MB are free; supervisor {missing}"
    checks = {item["name"]: item for item in value["checks"]}
    assert list(checks) == ["disk", "clock", "supervisor"]
    assert (checks["disk"]["state"], checks["clock"]["state"]) == ("failed", "works")
    assert checks["disk"]["for"] >= 0
    for asked in ({"QUERY_STRING": "format=text"}, {"HTTP_ACCEPT": "text/plain"}):
        reply = call(application, "/health", **asked)
        assert (reply.status, reply.text) == (503, f"{value['words']}\n")
        assert call(application, "/ready", **asked).text == (
            f"disk is full: 1 MB are free; supervisor {missing}\n"
        )
    assert json.loads(call(application, "/ready").text)["ready"] is False


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/ready", "lag=5 apples"),
        ("/ready", "lag="),
        ("/ready", "format=xml"),
        ("/health", "lag=5s"),
    ],
)
def test_questions_that_make_no_sense_are_rejected(tmp_path: Path, path: str, query: str) -> None:
    application = Application((), views_of(tmp_path))
    assert call(application, path, QUERY_STRING=query).status == 400


def test_without_the_token_readiness_has_no_reasons(tmp_path: Path) -> None:
    application = Application((), views_of(tmp_path, failing, TOKEN), TOKEN)
    assert call(application, "/health").status == 401
    reply = call(application, "/ready")
    assert (reply.status, json.loads(reply.text)) == (503, {"ready": False})
