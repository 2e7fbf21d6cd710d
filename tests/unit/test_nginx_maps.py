"""The values of nginx's variables for a request."""

import pytest

from ganglion.routing.nginx_maps import NOBODY, Request, decoded, evaluate, maps
from ganglion.routing.table import table
from tests.plans import topology_of

V12 = "!yXQ1v3lVSmZq3kDTFd2sZbmzDNyBjXmR6UOnrBGSxHM"


def values(method: str, uri: str, **headers: str) -> dict[str, str]:
    tables = maps(table(topology_of("full")), ())
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
def test_decoded_paths(path: str, expected: str) -> None:
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
        ("", "access_token=as_token&user_id=@_irc_bob:example.org", "_irc_bob"),
        # A user cannot choose another user's worker.
        ("Bearer syt_YWxpY2U_abc_12", "user_id=@bob:example.org", "YWxpY2U"),
        ("", "access_token=syt_YWxpY2U_abc_12&user_id=@bob:example.org", "YWxpY2U"),
        ("Bearer mat_AbC.123", "user_id=@bob:example.org", "mat_AbC.123"),
        ("", "user_id=@bob:example.org", "192.0.2.9"),
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
    ("uri", "gate"),
    [
        ("/_matrix/client/v3/sync?since=a//b/../c", ""),
        ("/_matrix/client/v3/profile/@a%2f..%2fb:c", ""),
        ("/_matrix/client/v3/rooms/!a:b/state/m.room.name/", ""),
        ("/.well-known/matrix/client", ""),
        ("/health", ""),
        ("/", ""),
        ("/_synapse/admin", "admin"),
        ("/_synapse/admin/v2/users/@a%2f..%2f..%2f..%2fx:localhost", "admin"),
        ("/_Synapse/Admin?x", "admin"),
        ("/_synapse/replication/x", "closed"),
        ("/_synapse/metrics", "closed"),
        ("/_synapse/%61dmin/v1", "closed"),
        ("/_synapse%2fadmin", "closed"),
        ("//_synapse/admin", "closed"),
        ("/_synapse//admin", "closed"),
        ("/_synapse;x/admin", "closed"),
        ("/a/../_synapse/admin", "malformed"),
        ("/a/%2E./_synapse/admin", "malformed"),
        ("/a/..", "malformed"),
        ("/a/.?x", "malformed"),
        ("/a#b", "malformed"),
        ("/a\\b", "malformed"),
        ("/\xe9", "malformed"),
    ],
)
def test_the_gate_of_a_request(uri: str, gate: str) -> None:
    assert values("GET", uri)["$ganglion_gate"] == gate


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


NAMES = ("main", "synchrotron1")


def named(name: str, nameable: tuple[str, ...] = NAMES) -> dict[str, str]:
    """Return the variables of a request that names a worker."""
    request = Request(
        method="GET", uri="/_matrix/client/v3/sync?since=s1", headers={"x-ganglion-worker": name}
    )
    return evaluate(maps(table(topology_of("synchrotron")), (), nameable), request)


def test_a_request_can_name_its_worker_in_test_mode_only() -> None:
    assert named("main")["$ganglion_target"] == "worker.main"
    assert named("synchrotron1")["$ganglion_target"] == "worker.synchrotron1"
    assert named("")["$ganglion_target"] == "synchrotron"
    for name in ("synchrotron2", "nobody", "worker.main", "$ganglion_pool"):
        assert named(name)["$ganglion_target"] == NOBODY
    for name in ("main", "synchrotron2", ""):
        values = named(name, nameable=())
        assert values["$ganglion_target"] == "synchrotron"
        assert "$ganglion_named" not in values
