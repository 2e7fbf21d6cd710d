"""The values that nginx works out for a request, and what an operator's routes.yaml may say."""

from typing import Any

import pytest

from ganglion.errors import ConfigError
from ganglion.routing.explain import as_text, explain
from ganglion.routing.nginx_maps import NOBODY, Request, decoded, evaluate, maps
from ganglion.routing.operator_routes import OperatorRoutes, interpret
from ganglion.routing.table import table
from ganglion.settings import environment
from ganglion.topology import topology
from ganglion.topology.topology import Topology

V12 = "!yXQ1v3lVSmZq3kDTFd2sZbmzDNyBjXmR6UOnrBGSxHM"


def plan(workers: str) -> Topology:
    return topology.build(environment.from_environ({"WORKERS": workers}, str))


def values(method: str, uri: str, **headers: str) -> dict[str, str]:
    tables = maps(table(plan("full")), ())
    return evaluate(tables, Request(method=method, uri=uri, headers=headers, address="192.0.2.9"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("/a%2Fb", "/a/b"),
        ("/%21a%3Ab", "/!a:b"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a//b", "/a//b"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/%25", "/%"),
    ],
)
def test_decoded(path: str, expected: str) -> None:
    assert decoded(path) == expected


@pytest.mark.parametrize(
    ("authorization", "query", "user"),
    [
        ("Bearer syt_YWxpY2U_abc_12", "", "YWxpY2U"),
        ("bearer  syt_YWxpY2U_abc_12", "", "YWxpY2U"),
        ("", "access_token=syt_YWxpY2U_abc_12", "YWxpY2U"),
        ("Bearer mat_AbC.123", "", "mat_AbC.123"),
        ("", "access_token=opaque", "opaque"),
        ("Bearer as_token", "user_id=%40_irc_bob%3Aexample.org", "_irc_bob"),
        ("Bearer as_token", "user_id=@_irc_bob:example.org", "_irc_bob"),
        ("", "", "192.0.2.9"),
    ],
)
def test_the_user_of_a_request(authorization: str, query: str, user: str) -> None:
    uri = f"/_matrix/client/v3/sync?since=s1&{query}"
    assert values("GET", uri, authorization=authorization)["$ganglion_key"] == user


@pytest.mark.parametrize(
    ("uri", "room"),
    [
        ("/_matrix/client/v3/rooms/!a:b.c/messages?dir=b", "!a:b.c"),
        ("/_matrix/client/v3/rooms/%21a%3Ab.c/messages", "!a:b.c"),
        ("/_matrix/client/r0/rooms/!a%3ab.c/messages", "!a:b.c"),
        (f"/_matrix/client/v3/rooms/{V12}/messages", V12),
        (f"/_matrix/client/v3/rooms/%21{V12[1:]}/messages", V12),
        (f"/_matrix/client/v1/rooms/{V12}/relations/$e/m.annotation", V12),
        ("/_matrix/federation/v1/state_ids/%21a%3Ab.c?event_id=$e", "!a:b.c"),
        (f"/_matrix/federation/v2/send_join/{V12}/$e", V12),
        ("/_matrix/federation/unstable/rooms/!a:b.c/complexity", "!a:b.c"),
        ("/_matrix/client/v3/join/%23alias%3Ab.c", "#alias:b.c"),
    ],
)
def test_the_room_of_a_request(uri: str, room: str) -> None:
    method = "POST" if "/join/" in uri else "PUT" if "send_join" in uri else "GET"
    assert values(method, uri)["$ganglion_key"] == room


@pytest.mark.parametrize(
    ("authorization", "origin"),
    [
        ('X-Matrix origin="a.example",key="ed25519:1",sig="x"', "a.example"),
        ("X-Matrix origin=a.example:8448,key=ed25519:1,sig=x", "a.example:8448"),
        ('X-Matrix key="ed25519:1", origin = "a.example", sig="x"', "a.example"),
        ("", "192.0.2.9"),
    ],
)
def test_the_origin_of_a_transaction(authorization: str, origin: str) -> None:
    found = values("PUT", "/_matrix/federation/v1/send/1", authorization=authorization)
    assert found["$ganglion_key"] == origin


@pytest.mark.parametrize(
    ("method", "uri", "rule"),
    [
        ("GET", "/_matrix/client/v3/sync", "initial_sync"),
        ("GET", "/_matrix/client/v3/sync?since=", "initial_sync"),
        ("GET", "/_matrix/client/v3/sync?timeout=0", "initial_sync"),
        ("GET", "/_matrix/client/v3/sync?since=s1", "sync"),
        ("HEAD", "/_matrix/client/v3/sync?a=1&since=s1", "sync"),
        ("GET", "/_matrix/client/v3/events", "sync"),
        ("GET", "/_matrix/client/v3/initialSync", "initial_sync"),
        ("GET", "/_matrix/client/v3/pushrules/", "push_rules"),
        ("PUT", "/_matrix/client/v3/pushrules/global/content/x", "push_rules_write"),
        ("POST", "/_matrix/client/v3/unheard_of", "main"),
    ],
)
def test_the_rule_for_a_request(method: str, uri: str, rule: str) -> None:
    assert values(method, uri)["$ganglion_rule"] == rule


def test_an_explanation_as_text() -> None:
    found = explain(
        "GET",
        "/_matrix/client/v3/sync",
        {"Authorization": "Bearer syt_YWxpY2U_abc_12"},
        "192.0.2.9",
        plan("synchrotron"),
        OperatorRoutes(),
    )
    assert as_text(found) == (
        "request   GET /_matrix/client/v3/sync\n"
        "rule      initial_sync    ^(GET) /_matrix/client/(api/v1|r0|v3|unstable)/(rooms/[^/]*/)?"
        "initialSync$\n"
        "why       row sync matches, and there is no since parameter; no worker has the role "
        "initial_synchrotron\n"
        "key       user = YWxpY2U\n"
        "pool      synchrotron (synchrotron1)\n"
        "worker    synchrotron1\n"
        "fallback  main"
    )


def refused(content: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        interpret(content, "routes.yaml", plan("synchrotron:2, event_creator, typing"))
    return str(caught.value)


def test_every_problem_of_an_operators_routes_is_told_at_once() -> None:
    found = refused(
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
        "routes.yaml='not an entry': is no entry of routes",
        "routes.yaml='a': lacks roles that serve requests",
        (
            "routes.yaml='b': has a path that is no regular expression: missing ), unterminated "
            "subpattern at position 2"
        ),
        "routes.yaml='c': has a path that nginx could read differently",
        "routes.yaml='typing_on_main': moves a row that only the writers of its stream can serve",
        "routes.yaml='sync': has the name of another row",
        (
            "routes.yaml='d': sends requests of the federation API to synchrotron, which does not "
            "serve it"
        ),
        "routes.yaml='e': has the unknown field extra",
        "routes.yaml='@alice:b': pins to a worker that there is not",
        "routes.yaml='alice': has no user ID",
        "routes.yaml='!a:b': pins to a worker that serves nothing by room",
    ]


def test_routes_that_are_no_lists() -> None:
    assert refused({"route": []}) == (
        "routes.yaml: has something else in it than its lists\n"
        "    fix: write the lists routes: and pins:, see docs/routing.md"
    )


def test_an_empty_file_changes_nothing() -> None:
    assert interpret(None, "routes.yaml", plan("none")) == OperatorRoutes()


NAMES = ("main", "synchrotron1")


def named(name: str, nameable: tuple[str, ...] = NAMES) -> dict[str, str]:
    """What nginx works out for a request that names a worker."""
    request = Request(
        method="GET", uri="/_matrix/client/v3/sync?since=s1", headers={"x-ganglion-worker": name}
    )
    return evaluate(maps(table(plan("synchrotron")), (), nameable), request)


def test_a_request_may_name_its_worker_in_test_mode_alone() -> None:
    assert named("main")["$ganglion_target"] == "worker.main"
    assert named("synchrotron1")["$ganglion_target"] == "worker.synchrotron1"
    assert named("")["$ganglion_target"] == "synchrotron"
    for name in ("synchrotron2", "nobody", "worker.main", "$ganglion_pool"):
        assert named(name)["$ganglion_target"] == NOBODY
    for name in ("main", "synchrotron2", ""):
        values = named(name, nameable=())
        assert values["$ganglion_target"] == "synchrotron"
        assert "$ganglion_named" not in values


def test_an_explanation_of_a_request_that_names_its_worker() -> None:
    def explained(name: str, *, test_mode: bool) -> Any:
        return explain(
            "GET",
            "/_matrix/client/v3/sync?since=s1",
            {"X-Ganglion-Worker": name},
            "192.0.2.1",
            plan("synchrotron"),
            OperatorRoutes(),
            test_mode=test_mode,
        )

    found = explained("main", test_mode=True)
    assert (found.worker, found.fallback) == ("main", None)
    assert found.why.endswith("; X-Ganglion-Worker names the worker, in test mode")
    found = explained("main", test_mode=False)
    assert (found.worker, found.fallback) == ("synchrotron1", "main")
    with pytest.raises(ConfigError) as caught:
        explained("nobody1", test_mode=True)
    assert str(caught.value) == (
        "X-Ganglion-Worker='nobody1': is no process of this server; nginx answers 400\n"
        "    fix: name one of main, synchrotron1"
    )
