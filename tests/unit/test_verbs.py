"""Every verb of the command line: its registration, manual, JSON and errors."""

import json
import pkgutil
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ganglion import cli
from ganglion.cli.main import main, overview, parser_of
from ganglion.cli.verb import VERBS, load
from ganglion.data.paths import Paths

USER = {"user_id": "@a1:x", "device_id": "D", "access_token": "T", "password": "P"}
# The responses of the control application, by path.
CONTROLS: dict[str, Any] = {
    "/test/reset": {"seconds": 0.5},
    "/test/users": {"users": [USER]},
    "/test/barrier": {"seconds": 0.0125},
    "/test/workers/main/slow": {"worker": "main", "milliseconds": 200},
    "/test/replication/delay": {"milliseconds": 50, "workers": ["main"]},
}
# One process, as the supervisor says it. No kernel gives such a process ID.
PROCESS = {
    "name": "main", "state": "RUNNING", "ready": True, "pid": 99999999, "age": 20.5, "starts": 2,
    "given_up": False, "ended": 21.0, "end": "exit status 1", "spawn_error": "",
}  # fmt: skip
HEALTH = {
    "state": "failing", "words": "failing: disk is full", "problems": {"disk": "is full"},
}  # fmt: skip
# A golden case of an import.
OLD = Path(__file__).parents[1] / "golden" / "imports" / "guide"
# Each verb that has --json, with the arguments that it needs and the start of its text.
WITH_JSON: tuple[tuple[tuple[str, ...], str], ...] = (
    (("check",), "PROCESS  ROLES"),
    (("explain", "GET", "/_matrix/client/v3/sync"), "request   GET /_matrix"),
    (("budget",), "WHAT  "),
    (("budget", "--explain"), "WHAT  "),
    (("routes",), "ROUTE  "),
    (
        ("status",),
        (
            "PROCESS  STATE    PID       UPTIME  STARTS  MEMORY  CPU  PROBLEM\n"
            "main     RUNNING  99999999  20 s    2       -       -\n"
            "disk     FAILED   -         0 s     -       -       -    is full\n"
            "\nfailing: disk is full\n"
        ),
    ),
    (("doctor", "time-zone"), "✓ time-zone  UTC"),
    (("plan", "synchrotron:2"), "now     pusher"),
    (("import", f"{OLD}/files"), "VARIABLES\n  SYNAPSE_SERVER_NAME=example.org\n"),
    (("version",), "ganglion "),
    (("test", "reset"), "reset in 0.50 s\n"),
    (("test", "users", "1"), "USER   DEVICE  TOKEN  PASSWORD\n@a1:x  D       T      P\n"),
    (("test", "barrier"), "all processes caught up after 0.013 s\n"),
    (("test", "worker", "main", "slow", "200"), "main: slow\n"),
    (("test", "replication-delay", "50"), "replication is delayed by 50 ms\n"),
)


class Handler(BaseHTTPRequestHandler):
    """Answers as the control application does."""

    def do_GET(self) -> None:
        """Answer /live and /health."""
        self.send_response(503)
        self.end_headers()
        self.wfile.write(json.dumps(HEALTH).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        content = json.dumps(CONTROLS[self.path])
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_request(self, *_: object) -> None:
        """Log nothing: the peer of a Unix socket has no address to log."""


class States(socketserver.BaseRequestHandler):
    """Says the states of all programs, as the supervisor does."""

    def handle(self) -> None:
        self.request.sendall(json.dumps({"programs": [PROCESS], "start": {}}).encode())


@pytest.fixture
def environ(short_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a server whose supervisor and control application answer."""
    paths = Paths(data=f"{short_path}/data", run=f"{short_path}/run")
    Path(paths.control_sockets).mkdir(parents=True)
    servers = [
        socketserver.UnixStreamServer(paths.states_socket, States),
        socketserver.UnixStreamServer(paths.control_socket, Handler),
    ]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    # The name of a former Synapse application makes a note.
    yield {
        "GANGLION_DATA": paths.data,
        "GANGLION_RUN": paths.run,
        "WORKERS": "synapse.app.pusher",
        "HTTP_PORT": "1",
    }
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def test_every_module_with_a_verb_is_registered_once() -> None:
    modules = [
        import_module(f"ganglion.cli.{item.name}") for item in pkgutil.iter_modules(cli.__path__)
    ]
    found = [module.VERB.name for module in modules if hasattr(module, "VERB")]
    assert sorted(found) == sorted(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_a_manual_that_its_help_prints(name: str) -> None:
    verb = load(name)
    assert verb.name == name
    first, *rest = verb.text.splitlines()
    assert first == f"{verb.help}."
    assert not rest or not rest[0]
    # A terminal of 80 columns shows it without breaks.
    assert max(map(len, verb.text.splitlines())) <= 80
    assert verb.text in parser_of(verb).format_help()
    assert f"  {name} " in overview()


@pytest.mark.parametrize("name", VERBS)
def test_every_option_has_help(name: str) -> None:
    parsers, without = [parser_of(load(name))], []
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action.choices, dict):
                parsers += action.choices.values()
            elif not action.help:
                without.append(f"{parser.prog} {action.dest}")
    assert without == []


def test_every_verb_with_json_is_tested_for_it() -> None:
    tested = {arguments[0] for arguments, _ in WITH_JSON}
    # `test` has --json on each control. For `ready` see below, for the rest the live tests.
    elsewhere = {"apply", "backup", "logs", "ready", "restart"}
    assert tested - {"test"} == {name for name in VERBS if load(name).json} - elsewhere
    (controls,) = (a for a in parser_of(load("test"))._actions if isinstance(a.choices, dict))
    assert controls.choices is not None
    assert set(controls.choices) == {words[1] for words, _ in WITH_JSON if words[:1] == ("test",)}


@pytest.mark.parametrize(("arguments", "text"), WITH_JSON, ids=str)
def test_json_is_all_of_stdout(
    arguments: tuple[str, ...],
    text: str,
    environ: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*arguments, "--json"], environ) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)
    notes = shown.err
    assert main(arguments, environ) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(text)
    # Notes are not part of either.
    assert shown.err == notes
    assert all(line.startswith("note: ") for line in notes.splitlines())


def test_ready_prints_the_same_problems_as_json_and_as_text(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ready", "--json"], environ) == 1
    shown = capsys.readouterr()
    assert shown.err == ""
    problems = json.loads(shown.out)
    parts = ["postgres", "redis", "main", "pusher1", "nginx", "disk", "clock", "control"]
    assert list(problems) == parts
    assert main(["ready"], environ) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "".join(
        f"{name} {problem}\n" for name, problem in problems.items() if problem
    )
