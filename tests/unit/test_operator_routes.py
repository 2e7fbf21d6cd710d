"""The operator's routes.yaml."""

from pathlib import Path
from typing import Any

import pytest

from ganglion.errors import ConfigError
from ganglion.routing.operator_routes import OperatorRoutes, interpret, load
from tests.plans import problems, settings, topology_of


def rejected(content: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        interpret(content, "routes.yaml", topology_of("synchrotron:2, event_creator, typing"))
    return str(caught.value)


def test_all_problems_are_reported_together() -> None:
    found = rejected(
        {
            "routes": [
                "not an entry",
                {"name": "a", "path": "/x", "roles": ["synchrotonn"]},
                {"name": "b", "path": "/x(", "roles": ["main"]},
                {"name": "c", "path": '/x"; return 200', "roles": ["main"]},
                {"name": "typing_on_main", "moves": "typing", "roles": ["main"]},
                {"name": "sync", "path": "/x", "roles": ["main"]},
                {"name": "d", "path": "/_matrix/federation/x", "roles": ["synchrotron"]},
                {"name": "e", "path": "/x", "roles": ["main"], "extra": 1},
            ],
            "pins": [
                {"user": "@alice:b", "worker": "nobody1"},
                {"user": "alice", "worker": "synchrotron1"},
                {"room": "!a:b", "worker": "typing1"},
            ],
        }
    )
    assert found.splitlines()[::2] == [
        "routes.yaml='not an entry': is not an entry of routes",
        "routes.yaml='a': has no list of roles that serve requests",
        (
            "routes.yaml='b': has a path that is not a regular expression: missing ), "
            "unterminated subpattern at position 2"
        ),
        "routes.yaml='c': has a path that nginx could interpret differently",
        "routes.yaml='typing_on_main': moves a row that only the writers of its stream can serve",
        "routes.yaml='sync': has the name of another row",
        (
            "routes.yaml='d': sends federation API requests to synchrotron, which does not serve"
            " that API"
        ),
        "routes.yaml='e': unknown field extra",
        "routes.yaml='@alice:b': pins to an unknown worker",
        "routes.yaml='alice': is not a user ID",
        "routes.yaml='!a:b': pins to a worker that serves no requests by room",
    ]


def test_unknown_lists() -> None:
    assert rejected({"route": []}) == (
        "routes.yaml: may contain only the lists routes and pins\n"
        "    fix: see docs/routing.md for the format"
    )


def test_an_empty_file_changes_nothing() -> None:
    assert interpret(None, "routes.yaml", topology_of("none")) == OperatorRoutes()


@pytest.mark.parametrize("content", [b"routes: 2026-13-01\n", b"\xff", b"a: [\n"])
def test_a_routes_file_that_cannot_be_read_is_a_problem(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "routes.yaml"
    path.write_bytes(content)
    chosen = settings(GANGLION_DATA=str(tmp_path))
    (problem,) = problems(lambda: load(chosen, None))
    assert problem.startswith(f"{path}: cannot be read: ")
    assert problem.endswith("\n    fix: correct the file")
