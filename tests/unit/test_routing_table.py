"""The pools of requests if each role has its own worker.

test_routes_proof.py checks the table against Synapse's own servlets. The table here is for people
to read. It also covers the choice between several suitable roles, which servlets do not show.
"""

import re

import pytest

from ganglion.routing.nginx_maps import match
from ganglion.routing.table import ROUTES, Choice, Key, choose, table
from ganglion.topology.roles import BY_NAME
from tests.plans import topology_of

FULL = table(topology_of("full"))
C = "/_matrix/client"
F = "/_matrix/federation"
ROOM = "!abc:example.org"
V12 = "!yXQ1v3lVSmZq3kDTFd2sZbmzDNyBjXmR6UOnrBGSxHM"
ENCODED = "%21abc%3Aexample.org"

# By the role that should serve them; `main` if no worker should.
REQUESTS: dict[str, tuple[str, ...]] = {
    "synchrotron": (
        f"GET {C}/v3/sync?since=s1_2&timeout=30000",
        f"GET {C}/r0/sync?timeout=0&since=s1",
        f"HEAD {C}/v3/sync?since=s1",
        f"GET {C}/v3/sync?since=s1&full_state=false",
        f"GET {C}/v3/sync?since=true&full_stated=true",
        f"GET {C}/v3/sync?since=s1&full_state=",
        f"GET {C}/v3/events?from=s1",
        f"GET {C}/v3/events?from=s1&full_state=true",
        f"GET {C}/api/v1/events",
        f"POST {C}/unstable/org.matrix.simplified_msc3575/sync?timeout=1",
        f"POST {C}/unstable/org.matrix.msc3575/sync",
    ),
    "initial_synchrotron": (
        f"GET {C}/v3/sync",
        f"GET {C}/v3/sync?timeout=30000&filter=1",
        f"GET {C}/v3/sync?since=",
        f"GET {C}/v3/sync?not_since=s1",
        f"GET {C}/v3/sync?since=s1&full_state=true",
        f"GET {C}/r0/sync?full_state=true&timeout=0&since=s1",
        f"GET {C}/r0/initialSync",
        f"GET {C}/v3/rooms/{ROOM}/initialSync",
    ),
    "client_reader": (
        f"GET {C}/versions",
        f"GET {C}/v3/publicRooms?limit=1",
        f"POST {C}/v3/publicRooms",
        f"POST {C}/v3/search",
        f"GET {C}/v3/joined_rooms",
        f"GET {C}/v3/voip/turnServer",
        f"GET {C}/v3/account/whoami",
        f"GET {C}/v3/account/3pid",
        f"GET {C}/v3/devices",
        f"GET {C}/v3/devices/ABC",
        f"GET {C}/v3/capabilities",
        f"GET {C}/v3/notifications?from=1",
        f"POST {C}/v3/keys/query",
        f"POST {C}/v3/keys/claim",
        f"GET {C}/v3/keys/changes?from=a&to=b",
        f"PUT {C}/v3/room_keys/keys/{ROOM}/session",
        f"GET {C}/v3/room_keys/version",
        f"POST {C}/v3/user/@a:b/filter",
        f"GET {C}/v3/user/@a:b/filter/1",
        f"GET {C}/v3/profile/@a:b/displayname",
        f"GET {C}/v3/directory/room/%23a:b",
        f"GET {C}/v3/events/$abc",
        f"GET {C}/unstable/org.matrix.msc4140/delayed_events",
        "GET /_synapse/client/unsubscribe?access_token=x",
        "GET /.well-known/matrix/client",
        f"GET /_synapse/admin/v1/rooms/{ROOM}",
        "GET /_synapse/admin/v2/users/@a:b",
    ),
    "event_creator": (
        f"PUT {C}/v3/rooms/{ROOM}/send/m.room.message/txn1",
        f"POST {C}/v3/rooms/{ENCODED}/send/m.room.message",
        f"PUT {C}/r0/rooms/{V12}/state/m.room.name/",
        f"GET {C}/v3/rooms/{ROOM}/state/m.room.name",
        f"PUT {C}/v3/rooms/{ROOM}/redact/$event/txn",
        f"POST {C}/v3/rooms/{ROOM}/join",
        f"POST {C}/v3/rooms/{ROOM}/invite",
        f"POST {C}/v3/rooms/{ROOM}/leave",
        f"POST {C}/v3/rooms/{ROOM}/ban",
        f"POST {C}/v3/rooms/{ROOM}/kick",
        f"POST {C}/v3/join/%23room:example.org?server_name=x",
        f"POST {C}/v3/knock/{ROOM}",
        f"POST {C}/v3/createRoom",
        f"PUT {C}/v3/profile/@a:b/displayname",
        f"POST {C}/unstable/org.matrix.msc4140/delayed_events/id/restart",
    ),
    "room_reader": (
        f"GET {C}/v3/rooms/{ROOM}/messages?dir=b&from=s1",
        f"GET {C}/v3/rooms/{V12}/messages",
        f"GET {C}/v3/rooms/{ENCODED}/messages",
        f"GET {C}/v3/rooms/{ROOM}/context/$event",
        f"GET {C}/v3/rooms/{ROOM}/event/$event",
        f"GET {C}/v3/rooms/{ROOM}/members?at=s1",
        f"GET {C}/v3/rooms/{ROOM}/joined_members",
        f"GET {C}/v3/rooms/{ROOM}/state",
        f"GET {C}/v1/rooms/{ROOM}/hierarchy",
        f"GET {C}/v1/rooms/{ROOM}/threads",
        f"GET {C}/v1/rooms/{ROOM}/relations/$event/m.thread",
        f"GET {C}/v1/rooms/{ROOM}/timestamp_to_event?ts=1",
        f"GET {C}/v1/room_summary/{V12}",
    ),
    "login": (
        f"GET {C}/v3/login",
        f"POST {C}/v3/login",
        f"POST {C}/v3/register?kind=user",
        f"GET {C}/v3/register/available?username=a",
        f"GET {C}/v1/register/m.login.registration_token/validity",
    ),
    "sso": (
        f"GET {C}/v3/login/sso/redirect",
        f"GET {C}/v3/login/sso/redirect/oidc-x?redirectUrl=y",
        f"GET {C}/r0/login/cas/ticket",
        "GET /_synapse/client/oidc/callback?code=x",
        "POST /_synapse/client/saml2/authn_response",
        "GET /_synapse/client/pick_idp",
        "GET /_synapse/client/pick_username/account_details",
    ),
    "typing": (
        f"PUT {C}/v3/rooms/{ROOM}/typing/@a:b",
        f"PUT {C}/r0/rooms/{V12}/typing/@a:b",
    ),
    "to_device": (f"PUT {C}/v3/sendToDevice/m.room.encrypted/txn",),
    "account_data": (
        f"PUT {C}/v3/user/@a:b/account_data/m.direct",
        f"GET {C}/v3/user/@a:b/rooms/{ROOM}/account_data/x",
        f"PUT {C}/v3/user/@a:b/rooms/{ROOM}/tags/m.favourite",
    ),
    "receipts": (
        f"POST {C}/v3/rooms/{ROOM}/receipt/m.read/$event",
        f"POST {C}/v3/rooms/{V12}/read_markers",
    ),
    "presence": (f"PUT {C}/v3/presence/@a:b/status", f"GET {C}/v3/presence/@a:b/status"),
    "push_rules": (
        f"PUT {C}/v3/pushrules/global/content/x",
        f"GET {C}/v3/pushrules/",
        f"DELETE {C}/v3/pushrules/global/content/x",
    ),
    "device_lists": (
        f"POST {C}/v3/keys/upload",
        f"POST {C}/v3/keys/upload/DEVICE",
        f"POST {C}/v3/keys/device_signing/upload",
        f"POST {C}/v3/keys/signatures/upload",
        f"POST {C}/v3/delete_devices",
        f"DELETE {C}/v3/devices/ABC",
        f"PUT {C}/v3/devices/ABC",
    ),
    "thread_subscriptions": (
        f"PUT {C}/unstable/io.element.msc4306/rooms/{ROOM}/thread/$e/subscription",
        f"GET {C}/unstable/io.element.msc4306/rooms/{ROOM}/thread/$e/subscription",
    ),
    "user_dir": (f"POST {C}/v3/user_directory/search",),
    "quarantined_media_changes": (
        f"POST /_synapse/admin/v1/room/{ROOM}/media/quarantine",
        "POST /_synapse/admin/v1/quarantine_media/example.org/abc",
        "POST /_synapse/admin/v1/media/quarantine/example.org/abc",
    ),
    "media_repository": (
        "POST /_matrix/media/v3/upload?filename=x",
        "GET /_matrix/media/r0/download/example.org/abc",
        f"GET {C}/v1/media/download/example.org/abc/name.png",
        f"GET {C}/v1/media/thumbnail/example.org/abc?width=1",
        f"GET {C}/v1/media/preview_url?url=x",
        f"GET {F}/v1/media/download/abc",
        "DELETE /_synapse/admin/v1/media/example.org/abc",
        "POST /_synapse/admin/v1/purge_media_cache?before_ts=1",
        "GET /_synapse/admin/v1/users/@a:b/media",
    ),
    "federation_inbound": (f"PUT {F}/v1/send/12345",),
    "federation_reader": (
        f"GET {F}/v1/event/$event",
        f"GET {F}/v1/state/{ROOM}?event_id=x",
        f"GET {F}/v1/state_ids/{V12}",
        f"GET {F}/v1/backfill/{ROOM}?v=x",
        f"POST {F}/v1/get_missing_events/{ROOM}",
        f"GET {F}/v1/event_auth/{ROOM}/$event",
        f"GET {F}/v1/make_join/{ROOM}/@a:b",
        f"PUT {F}/v2/send_join/{ROOM}/$event",
        f"PUT {F}/v2/invite/{ENCODED}/$event",
        f"GET {F}/v1/query/profile?user_id=x",
        f"GET {F}/v1/user/devices/@a:b",
        f"POST {F}/v1/user/keys/query",
        f"GET {F}/v1/publicRooms",
        f"GET {F}/v1/version",
        "GET /_matrix/key/v2/server",
        "POST /_matrix/key/v2/query",
    ),
    "main": (
        "GET /",
        "GET /health",
        "GET /_matrix",
        "GET /_matrix/client",
        f"POST {C}/v3/logout",
        f"POST {C}/v3/account/password",
        f"POST {C}/v3/pushers/set",
        f"PUT {C}/v3/directory/room/%23a:b/x",
        f"POST {C}/v3/rooms/{ROOM}/forget",
        f"POST {C}/v3/rooms/{ROOM}/upgrade",
        f"POST {C}/v3/rooms/{ROOM}/report/$event",
        "GET /_synapse/admin/v1/server_version",
        "POST /_synapse/admin/v1/register",
        # Similar to the paths of a row.
        f"GET {C}/v3/synchronise",
        f"GET {C}/v4/sync?since=s1",
        f"GET {C}/V3/sync?since=s1",
        f"get {C}/v3/sync?since=s1",
        f"GET /{C}/v3/sync?since=s1",
        f"GET {C}//v3/sync?since=s1",
        f"GET /x{C}/v3/sync?since=s1",
        f"GET /?x={C}/v3/sync",
        f"GET {C}/v3/sync/?since=s1",
        f"GET {C}%2Fv3%2Fsync?since=s1",
        f"POST {C}/v3/rooms/{ROOM}%2Fjoin",
    ),
}
ROWS = [(role, request) for role, requests in REQUESTS.items() for request in requests]


def choice_of(request_line: str) -> Choice:
    method, _, uri = request_line.partition(" ")
    return match(method, uri, FULL)


@pytest.mark.parametrize(("role", "request_line"), ROWS, ids=[line for _, line in ROWS])
def test_the_pool_of_a_request(role: str, request_line: str) -> None:
    assert choice_of(request_line).pool.name == role


def test_every_role_with_resources_serves_some_request() -> None:
    """Except frontend_proxy, which comes second to device_lists."""
    serving = {name for name, role in BY_NAME.items() if role.resources}
    first = {route.roles[0] for route in ROUTES}
    assert serving - first == {"frontend_proxy"}
    assert set(REQUESTS) == first | {"main"}


def test_every_row_matches_some_request() -> None:
    reached = {choice_of(line).route.name for _, line in ROWS}
    assert {route.name for route in ROUTES} - reached == set()


def test_names_of_rows_are_unique_and_valid_in_nginx() -> None:
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z_]+", name) for name in names)


def chosen(name: str, workers: str) -> Choice:
    (route,) = (route for route in ROUTES if route.name == name)
    return choose(route, topology_of(workers))


@pytest.mark.parametrize(
    ("name", "workers", "pool", "fallback"),
    [
        ("sync", "none", "main", None),
        ("sync", "synchrotron", "synchrotron", "main"),
        ("initial_sync", "synchrotron, initial_synchrotron", "initial_synchrotron", "synchrotron"),
        ("initial_sync", "synchrotron", "synchrotron", "main"),
        ("room_messages", "client_reader, room_reader", "room_reader", "client_reader"),
        ("device_lists", "frontend_proxy, client_reader", "frontend_proxy", "client_reader"),
        # Neither the writer of a stream nor a media worker has a fallback.
        ("typing", "typing, client_reader", "typing", None),
        ("push_rules_write", "push_rules, client_reader", "push_rules", None),
        ("push_rules", "push_rules, client_reader", "push_rules", "client_reader"),
        ("media", "media_repository", "media_repository", None),
        ("media", "none", "main", None),
        ("media_quarantine", "media_repository", "media_repository", None),
        (
            "media_quarantine",
            "media_repository, quarantined_media_changes",
            "quarantined_media_changes",
            None,
        ),
    ],
)
def test_pools_and_fallbacks(name: str, workers: str, pool: str, fallback: str | None) -> None:
    choice = chosen(name, workers)
    assert choice.pool.name == pool
    assert (choice.fallback.name if choice.fallback else None) == fallback


@pytest.mark.parametrize(
    ("name", "workers", "expected"),
    [
        ("initial_sync", "synchrotron, initial_synchrotron", ["synchrotron", "main"]),
        ("initial_sync", "initial_synchrotron", ["main"]),
        ("room_messages", "client_reader, room_reader", ["client_reader", "main"]),
        ("login", "login, client_reader", ["client_reader", "main"]),
        ("device_lists", "device_lists, frontend_proxy, client_reader", ["frontend_proxy", "main"]),
        ("push_rules_write", "push_rules, client_reader", []),
        ("media", "media_repository", []),
    ],
)
def test_main_is_the_last_resort(name: str, workers: str, expected: list[str]) -> None:
    assert [pool.name for pool in chosen(name, workers).fallbacks] == expected


def test_a_pool_with_one_worker_has_no_key() -> None:
    assert chosen("sync", "synchrotron").pool.key is Key.NONE
    pool = chosen("sync", "synchrotron:2").pool
    assert (pool.key, pool.upstream) == (Key.USER, "synchrotron.user")
    assert [member.name for member in pool.members] == ["synchrotron1", "synchrotron2"]


def test_a_worker_with_several_roles_is_in_several_pools() -> None:
    workers = "a=synchrotron+client_reader, client_reader"
    assert [m.name for m in chosen("sync", workers).pool.members] == ["a1"]
    assert [m.name for m in chosen("client_reads", workers).pool.members] == [
        "a1",
        "client_reader1",
    ]
