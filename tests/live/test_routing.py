"""nginx and `ganglion explain` agree, and another process stands in for one that is gone."""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ganglion.routing.explain import explain
from tests.edge import Edge, running
from tests.harness import free_port, wait_until
from tests.oracle.samples import V12_ROOM, load

# Every kind of pool: one member and several, each key, main for the rest.
LAYOUTS = (
    "none",
    "small",
    "medium, event_creator:3, sync=synchrotron+initial_synchrotron:3",
    "complement, synchrotron:4, federation_inbound:3, federation_reader:2, client_reader:2",
    "full, room_reader:3, initial_synchrotron:2, device_lists:3, media_repository:2",
    "large",
)
# Clients: one for each kind of balancing key.
CLIENTS: tuple[dict[str, str], ...] = (
    {},
    {"Authorization": "Bearer syt_YWxpY2U_AbCdEfGhIjKl_123456"},
    {"Authorization": "bearer syt_Ym9i_AbCdEfGhIjKl_123456"},
    {"Authorization": "Bearer mat_opaque.token-1"},
    {"Authorization": 'X-Matrix origin="one.example",destination="b",key="ed25519:a",sig="c"'},
    {"Authorization": "X-Matrix origin=two.example,key=ed25519:a,sig=c"},
    {"Authorization": 'X-Matrix key="ed25519:a", origin = "three.example:8448", sig="c"'},
)
QUERIES = (
    "since=s1_2",
    "access_token=syt_Y2Fyb2w_AbCd_12&since=s1",
    "access_token=opaque",
    "user_id=%40_irc_dave%3Aexample.org&since=x",
    "user_id=@_irc_dave:example.org&since=x",
    "filter=1&Since=s1",
)
SYNC = "/_matrix/client/v3/sync"
SEND = "/_matrix/client/v3/rooms/!abc:example.org/send/m.room.message"


def difference(
    edge: Edge, method: str, uri: str, headers: dict[str, str] | None = None
) -> str | None:
    """Where nginx and `explain` part ways on a request, or None."""
    expected = explain(
        method, uri, headers or {}, "127.0.0.1", edge.plan.topology, edge.plan.routes
    )
    answer = edge.ask(method, uri, headers)
    found = replace(
        expected,
        rule=answer.headers["x-ganglion-route"],
        key_value=answer.headers.get("x-ganglion-key") or None,
        worker=answer.body if expected.worker else None,
    )
    if found == expected and answer.status == 200 and answer.body in expected.workers:
        return None
    return f"{method} {uri} {headers}: {answer.status} {found} instead of {expected}"


@pytest.fixture(scope="module", params=LAYOUTS)
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    with running(request.param, {"GANGLION_ADMIN_NETWORKS": "all"}) as found:
        yield found


def test_nginx_and_explain_agree_on_every_registration(edge: Edge) -> None:
    requests = [request for row in load() for request in row.requests]
    assert len(requests) > 1000
    assert [found for method, uri in requests if (found := difference(edge, method, uri))] == []


def test_nginx_and_explain_agree_on_every_client(edge: Edge) -> None:
    paths = (
        SYNC,
        "/_matrix/client/v3/events",
        "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
        "/_matrix/client/v3/keys/upload",
        "/_matrix/client/v3/join/%23a%2Fb:example.org?server_name=x",
        "/_matrix/federation/v1/send/123",
        f"/_matrix/federation/v1/make_join/{V12_ROOM}/@a:b",
        "/_matrix/federation/unstable/rooms/!abc:example.org/complexity",
        "/_matrix/federation/v1/state_ids/%21abc%3Aexample.org?event_id=$x",
        "/_matrix/client/v3/rooms/!a%2F..%2Fb/messages",
        "/_matrix/client/v3/rooms/!%C3%A9t%C3%A9:example.org/messages",
        "/_matrix/unknown",
        "/",
    )
    different = []
    for path, headers, query in itertools.product(paths, CLIENTS, ("", *QUERIES)):
        uri = f"{path}{'&' if '?' in path else '?'}{query}" if query else path
        method = "POST" if "3575" in path or "upload" in path else "GET"
        if found := difference(edge, "PUT" if "/send/" in path else method, uri, headers):
            different.append(found)
    assert different == []


def test_a_room_is_one_worker_however_it_is_spelt() -> None:
    with running("event_creator:5, federation_reader:5") as edge:
        for number in range(20):
            spellings = (
                f"!r{number}:example.org",
                f"%21r{number}%3Aexample.org",
                f"!r{number}%3aexample.org",
                f"%21%72{number}:example%2Eorg",
            )
            sends = {
                edge.ask("PUT", f"/_matrix/client/v3/rooms/{room}/send/m.x/1").body
                for room in spellings
            }
            reads = {
                edge.ask("GET", f"/_matrix/federation/v1/state_ids/{room}").body
                for room in spellings
            }
            assert (len(sends), len(reads)) == (1, 1), spellings
        rooms = {
            edge.ask("PUT", f"/_matrix/client/v3/rooms/!r{number}/send/m.x/1").body
            for number in range(100)
        }
        assert rooms == {f"event_creator{number}" for number in range(1, 6)}


def test_a_member_that_is_down_is_skipped_and_then_used_again() -> None:
    with running("synchrotron:3") as edge:
        users = [{"Authorization": f"Bearer user{number}"} for number in range(60)]
        before = [edge.ask("GET", f"{SYNC}?since=1", user).body for user in users]
        assert set(before) == {"synchrotron1", "synchrotron2", "synchrotron3"}
        edge.processes["synchrotron2"].stop()
        during = [edge.ask("GET", f"{SYNC}?since=1", user) for user in users]
        assert {answer.status for answer in during} == {200}
        # Those of the members that are up stay where they were.
        assert all(
            was == now.body
            for was, now in zip(before, during, strict=True)
            if was != "synchrotron2"
        )
        edge.processes["synchrotron2"].start()
        wait_until(
            "synchrotron2 to be asked again",
            lambda: [edge.ask("GET", f"{SYNC}?since=1", user).body for user in users] == before,
        )


def test_an_empty_pool_falls_back_to_the_next_pool_and_then_to_main() -> None:
    with running("initial_synchrotron, synchrotron:2, typing, event_creator:2") as edge:
        assert edge.ask("GET", SYNC).body == "initial_synchrotron1"
        edge.processes["initial_synchrotron1"].stop()
        assert edge.ask("GET", SYNC).body in {"synchrotron1", "synchrotron2"}
        assert edge.ask("GET", f"{SYNC}?since=s1").body in {"synchrotron1", "synchrotron2"}
        edge.processes["synchrotron1"].stop()
        edge.processes["synchrotron2"].stop()
        assert edge.ask("GET", SYNC).body == "main"
        assert edge.ask("GET", f"{SYNC}?since=s1").body == "main"
        edge.processes["event_creator1"].stop()
        edge.processes["event_creator2"].stop()
        for method in ("PUT", "POST"):
            answer = edge.ask(method, f"{SEND}/1", body=b"{}")
            assert (answer.status, answer.body) == (200, "main")


def test_when_every_pool_is_down_the_error_is_a_matrix_error() -> None:
    with running("initial_synchrotron, synchrotron") as edge:
        for process in edge.processes.values():
            process.stop()
        for path in (SYNC, f"{SYNC}?since=s1"):
            answer = edge.ask("GET", path)
            assert answer.status in {502, 503}
            assert json.loads(answer.body)["errcode"] == "M_UNKNOWN"


def test_a_post_that_the_second_pool_has_seen_is_never_sent_again() -> None:
    with running("login, client_reader") as edge:
        edge.processes["login1"].stop()
        edge.processes["client_reader1"].breaks = True
        answer = edge.ask("POST", "/_matrix/client/v3/login", body=b"{}")
        assert answer.status == 504
        assert edge.processes["main"].asked == []
        edge.processes["client_reader1"].stop()
        answer = edge.ask("POST", "/_matrix/client/v3/login", body=b"{}")
        assert (answer.status, answer.body) == (200, "main")


def test_what_nobody_else_can_serve_is_a_matrix_error_with_a_time_to_retry() -> None:
    with running("typing, media_repository") as edge:
        for name, method, path in (
            ("typing1", "PUT", "/_matrix/client/v3/rooms/!a/typing/@a:b"),
            ("media_repository1", "GET", "/_matrix/client/v1/media/download/b/c"),
        ):
            edge.processes[name].stop()
            answer = edge.ask(method, path, {"Origin": "https://app.example"})
            assert answer.status == 503
            assert json.loads(answer.body) == {
                "errcode": "M_UNKNOWN",
                "error": "The homeserver cannot answer this at the moment",
            }
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["access-control-allow-origin"] == "*"
        assert edge.processes["main"].asked == []


def test_a_post_that_a_worker_has_seen_is_never_sent_again() -> None:
    with running("event_creator:2") as edge:
        for process in edge.processes.values():
            process.breaks = True
        answer = edge.ask("POST", f"{SEND}", body=b'{"body":"once"}')
        assert answer.status == 504
        assert json.loads(answer.body)["errcode"] == "M_UNKNOWN"
        asked = [line for process in edge.processes.values() for line in process.asked]
        assert asked == [f"POST {SEND} HTTP/1.1"]


def test_a_get_that_a_worker_has_seen_is_asked_of_another() -> None:
    with running("room_reader:2") as edge:
        path = "/_matrix/client/v3/rooms/!a:b/messages"
        for name in ("room_reader1", "room_reader2"):
            edge.processes[name].breaks = True
        answer = edge.ask("GET", path)
        assert (answer.status, answer.body) == (200, "main")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "errcode"),
    [
        ("GET", "/_synapse/admin/v1/server_version", {}, 403, "M_FORBIDDEN"),
        ("GET", "/_synapse/%61dmin/v1/server_version", {}, 404, "M_UNRECOGNIZED"),
        ("GET", "/_synapse/replication/x", {}, 404, "M_UNRECOGNIZED"),
        ("GET", "/_synapse/metrics", {}, 404, "M_UNRECOGNIZED"),
        ("GET", "/_synapse/%6Detrics", {}, 404, "M_UNRECOGNIZED"),
        ("POST", SEND, {"Content-Length": "999999999"}, 413, "M_TOO_LARGE"),
        ("GET", "/%00", {}, 400, "M_UNKNOWN"),
        ("GET", "/" + "a" * 40000, {}, 414, "M_UNKNOWN"),
        ("GET", "/_matrix/client/versions", {"X-Long": "a" * 40000}, 431, "M_UNKNOWN"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_nginx_speaks_matrix_where_it_refuses(
    method: str, path: str, headers: dict[str, str], status: int, errcode: str
) -> None:
    with running("none") as edge:
        answer = edge.ask(method, path, headers)
        assert (answer.status, json.loads(answer.body)["errcode"]) == (status, errcode)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert edge.processes["main"].asked == []


def test_initial_syncs_are_bounded() -> None:
    variables = {"GANGLION_INITIAL_SYNCS": "2", "TRUSTED_PROXIES": "127.0.0.1"}
    with running("initial_synchrotron:2, synchrotron", variables) as edge:
        members = [edge.processes[f"initial_synchrotron{number}"] for number in (1, 2)]
        for member in members:
            member.free.clear()
        with ThreadPoolExecutor(4) as pool:
            held = [
                pool.submit(
                    edge.ask,
                    "GET",
                    SYNC,
                    {
                        "Authorization": f"Bearer user{number}",
                        "X-Forwarded-For": f"192.0.2.{number}",
                    },
                )
                for number in range(4)
            ]
            wait_until("four syncs", lambda: sum(len(member.asked) for member in members) == 4)
            refused = edge.ask("GET", SYNC)
            assert refused.status == 429
            assert json.loads(refused.body) == {
                "errcode": "M_LIMIT_EXCEEDED",
                "error": "Too many requests at once",
                "retry_after_ms": 2000,
            }
            assert refused.headers["retry-after"] == "2"
            assert edge.ask("GET", f"{SYNC}?since=1").body == "synchrotron1"
            for member in members:
                member.free.set()
            assert {answer.result().status for answer in held} == {200}
        assert edge.ask("GET", SYNC).status == 200


def test_options_is_answered_at_the_edge() -> None:
    with running("none") as edge:
        answer = edge.ask("OPTIONS", SYNC, {"Origin": "https://app.example"})
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        assert edge.processes["main"].asked == []


def test_the_admin_api_opens_to_networks() -> None:
    with running("none", {"GANGLION_ADMIN_NETWORKS": "127.0.0.0/8"}) as edge:
        assert edge.ask("GET", "/_synapse/admin/v1/server_version").body == "main"
    with running("none", {"GANGLION_ADMIN_NETWORKS": "10.0.0.0/8"}) as edge:
        assert edge.ask("GET", "/_synapse/admin/v1/server_version").status == 403


def test_well_known_is_served_at_the_edge_when_asked_for() -> None:
    with running("none", {"GANGLION_WELL_KNOWN_SERVER": "matrix.example.org:443"}) as edge:
        answer = edge.ask("GET", "/.well-known/matrix/server")
        assert json.loads(answer.body) == {"m.server": "matrix.example.org:443"}
        assert answer.headers["access-control-allow-origin"] == "*"
        assert edge.ask("GET", "/.well-known/matrix/client").body == "main"
    with running("none") as edge:
        assert edge.ask("GET", "/.well-known/matrix/server").body == "main"


def test_pins_send_a_user_or_a_room_to_one_worker() -> None:
    pins = {
        "pins": [
            {"user": "@alice:localhost", "worker": "synchrotron3"},
            {"room": "!pinned:example.org", "worker": "event_creator2"},
        ]
    }
    with running("synchrotron:4, event_creator:4", routes=pins) as edge:
        alice = {"Authorization": "Bearer syt_YWxpY2U_abcdefgh_123456"}
        bridged = f"{SYNC}?since=1&user_id=%40alice%3Alocalhost"
        room = "/_matrix/client/v3/rooms/%21pinned%3Aexample.org/send/m.x/1"
        assert edge.ask("GET", f"{SYNC}?since=1", alice).body == "synchrotron3"
        assert edge.ask("GET", bridged, {"Authorization": "Bearer as"}).body == "synchrotron3"
        assert edge.ask("PUT", room).body == "event_creator2"
        assert difference(edge, "GET", f"{SYNC}?since=1", alice) is None
        assert difference(edge, "PUT", room) is None
        edge.processes["event_creator2"].stop()
        assert edge.ask("PUT", room).body in {"event_creator1", "event_creator3", "event_creator4"}


def test_rows_of_the_operator_come_first_and_move_others() -> None:
    own = {
        "routes": [
            {"name": "module", "path": "/_synapse/client/module(/|$)", "roles": ["client_reader"]},
            {"name": "reads", "moves": "client_reads", "roles": ["main"]},
        ]
    }
    with running("client_reader", routes=own) as edge:
        assert edge.ask("GET", "/_synapse/client/module/x").body == "client_reader1"
        assert edge.ask("GET", "/_matrix/client/v3/account/whoami").body == "main"
        assert edge.ask("GET", "/_matrix/client/v3/devices/x").body == "client_reader1"


def test_a_request_goes_to_the_process_that_it_names_and_to_nobody_else() -> None:
    variables = {"GANGLION_TEST_MODE": "yes", "CONTROL_PORT": str(free_port())}
    with running("synchrotron:2, pusher", variables) as edge:

        def ask(name: str, uri: str = f"{SYNC}?since=1") -> tuple[int, str]:
            answer = edge.ask("GET", uri, {"X-Ganglion-Worker": name})
            return answer.status, answer.body

        for name in edge.processes:
            assert ask(name) == (200, name)
            found = explain(
                "GET", SYNC, {"X-Ganglion-Worker": name}, "127.0.0.1",
                edge.plan.topology, edge.plan.routes, test_mode=True,
            )  # fmt: skip
            assert (found.worker, found.fallback) == (name, None)
        for name in ("nobody", "synchrotron3", "worker.main"):
            status, body = ask(name)
            assert (status, "choose one of main, synchrotron1" in body) == (400, True)
        assert json.loads(ask("nobody")[1])["errcode"] == "M_UNKNOWN"
        edge.processes["synchrotron1"].stop()
        assert {ask(f"synchrotron{number}")[0] for number in (1, 2)} == {503, 200}
        # Without the header another stands in.
        users = [{"Authorization": f"Bearer user{number}"} for number in range(20)]
        assert {edge.ask("GET", f"{SYNC}?since=1", user).status for user in users} == {200}
        resetting = Path(edge.plan.settings.run, "resetting")
        resetting.touch()
        for uri in (SYNC, "/_synapse/admin/v1/server_version", "/health"):
            status, body = ask("", uri)
            assert (status, json.loads(body)["errcode"][:2]) == (503, "M_")
        resetting.unlink()
        assert ask("main", "/health") == (200, "main")


def test_in_production_a_request_names_nobody() -> None:
    with running("synchrotron") as edge:
        for name in ("main", "nobody", "worker.main"):
            answer = edge.ask("GET", f"{SYNC}?since=1", {"X-Ganglion-Worker": name})
            assert (answer.status, answer.body) == (200, "synchrotron1")
