"""Under each preset clients can do everything, and the right workers answer.

The request log of each worker shows the requests that it answered.
"""

import asyncio
import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from nio import RoomCreateResponse

from tests import room_flows
from tests.flows import whole_flow
from tests.harness import SHARED_SECRET, Request, Server, wait_until
from tests.live.conftest import SINGLE_SIGN_ON
from tests.matrix import Clients, ok
from tests.outside import PUSH_PATH, REGISTRATION, TRANSACTIONS_PATH, Outside, outside
from tests.raw_http import raw_request

# Push gateways and application services of tests are on this machine.
OPERATOR_FILE = SINGLE_SIGN_ON + "ip_range_blacklist: []\n"
PRESETS = (
    "none",
    pytest.param("small", marks=pytest.mark.both_modes),
    pytest.param("complement", marks=pytest.mark.both_modes),
    "full",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The worker that answers one kind of request, under each preset.

    `asks` is a regular expression for the whole of `METHOD path?query`. Several workers are
    separated by spaces; an empty text means that no such request may happen.
    """

    asks: str
    small: str
    complement: str
    full: str
    none: str = "main"

    def fits(self, request: Request) -> bool:
        return re.fullmatch(self.asks, f"{request.method} {request.uri}") is not None

    def workers(self, preset: str) -> frozenset[str]:
        return frozenset(str(getattr(self, preset)).split())


C = "/_matrix/client/v3"
ROOM = rf"{C}/rooms/[^/]+"
READER = {"small": "client1", "complement": "client_reader1"}
CREATOR = {"small": "client1", "complement": "event_creator1", "full": "event_creator1"}
STREAMS = "stream_writers1"

# The first matching row applies. Every request of the flow must match a row, and every row must
# match a request.
TABLE: tuple[Row, ...] = (
    Row(asks=rf"POST {C}/register", **READER, full="login1"),
    Row(asks=rf"POST {C}/login", **READER, full="login1"),
    Row(asks=rf"POST {C}/logout", small="main", complement="main", full="main"),
    Row(
        asks=r"(GET|POST) /_synapse/admin/v1/register",
        small="main",
        complement="main",
        full="main",
    ),
    Row(asks=rf"POST {C}/createRoom", **CREATOR),
    Row(asks=rf"POST ({ROOM}/invite|{C}/join/[^/]+)", **CREATOR),
    Row(asks=rf"PUT {ROOM}/(send|redact)/.+", **CREATOR),
    Row(asks=rf"(GET|PUT) {ROOM}/state/.+", **CREATOR),
    Row(asks=rf"PUT {C}/profile/.+", **CREATOR),
    Row(
        asks=r"POST /_synapse/replication/send_events/.+",
        none="",
        small="main",
        complement="event_persister1 event_persister2",
        full="event_persister1",
    ),
    Row(
        asks=rf"GET {C}/sync\?(.*&)?since=.+",
        small="sync1",
        complement="synchrotron1",
        full="synchrotron1",
    ),
    Row(
        asks=rf"GET {C}/sync(\?.*)?",
        small="sync1",
        complement="synchrotron1",
        full="initial_synchrotron1",
    ),
    Row(
        asks=r"POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
        small="sync1",
        complement="synchrotron1",
        full="synchrotron1",
    ),
    Row(asks=rf"GET {ROOM}/messages\?.+", **READER, full="room_reader1"),
    Row(
        asks=rf"GET {ROOM}/(event/[^/]+|context/[^/]+|members|joined_members)",
        **READER,
        full="room_reader1",
    ),
    Row(asks=rf"PUT {ROOM}/typing/.+", small="main", complement=STREAMS, full="typing1"),
    Row(
        asks=rf"POST {ROOM}/(receipt/.+|read_markers)",
        small="main",
        complement=STREAMS,
        full="receipts1",
    ),
    Row(asks=rf"(GET|PUT) {C}/presence/.+", small="main", complement=STREAMS, full="presence1"),
    Row(asks=rf"PUT {C}/sendToDevice/.+", small="main", complement=STREAMS, full="to_device1"),
    Row(
        asks=rf"(GET|PUT) {C}/user/[^/]+/(rooms/[^/]+/)?(account_data|tags)/.+",
        small="main",
        complement=STREAMS,
        full="account_data1",
    ),
    Row(
        asks=rf"(PUT|DELETE) {C}/pushrules/.+", small="main", complement="main", full="push_rules1"
    ),
    Row(asks=rf"GET {C}/pushrules/.*", **READER, full="push_rules1"),
    Row(
        asks=rf"POST {C}/user_directory/search",
        small="background1",
        complement="user_dir1",
        full="user_dir1",
    ),
    Row(
        asks=rf"(POST {C}/keys/upload|PUT {C}/devices/.+)",
        small="client1",
        complement="device_lists1 device_lists2",
        full="device_lists1",
    ),
    Row(
        asks=r"(PUT|DELETE) /_matrix/client/unstable/io.element.msc4306/.+",
        small="main",
        complement="main",
        full="thread_subscriptions1",
    ),
    Row(
        asks=r"GET /_matrix/client/unstable/io.element.msc4306/.+",
        **READER,
        full="thread_subscriptions1",
    ),
    Row(
        asks=r"POST /_synapse/admin/v1/media/quarantine/.+",
        small="main",
        complement="media_repository1",
        full="quarantined_media_changes1",
    ),
    Row(
        asks=rf"GET {C}/login/sso/redirect\?.+",
        small="main",
        complement="main",
        full="sso1",
    ),
    Row(
        asks=r"(POST /_matrix/media/v3/upload\?.+|GET /_matrix/(media/v3|client/v1/media)/.+)",
        small="main",
        complement="media_repository1",
        full="media_repository1",
    ),
    Row(
        asks=rf"(POST {C}/keys/(query|claim)"
        rf"|GET {C}/(profile/.+|joined_rooms|account/whoami|devices(/.+)?|capabilities|publicRooms)"
        r"|GET /_matrix/client/versions)",
        **READER,
        full="client_reader1",
    ),
    # Requests of other homeservers. They are unsigned, so the worker only rejects them.
    Row(
        asks=r"GET /_matrix/federation/v1/(version|event/.+)",
        small="federation1",
        complement="federation_reader1",
        full="federation_reader1",
    ),
    Row(
        asks=r"PUT /_matrix/federation/v1/send/.+",
        small="federation1",
        complement="federation_inbound1",
        full="federation_inbound1",
    ),
)
PROBES = (
    ("GET", f"{C}/login/sso/redirect?redirectUrl=https://app.invalid/", 302),
    ("GET", "/_matrix/federation/v1/version", 200),
    ("GET", "/_matrix/federation/v1/event/$none", 401),
    ("PUT", "/_matrix/federation/v1/send/1", 401),
)
# Other requests between processes, which Synapse's own tests cover.
OTHER_REPLICATION = "/_synapse/replication/"
# Event persisters shard rooms by the hash of the room ID, in the order of `stream_writers`:
# synapse.config._base.ShardedWorkerHandlingConfig.
PERSISTERS = ("event_persister1", "event_persister2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A server of a preset, and the requests that its processes answered during the flow."""

    preset: str
    server: Server
    outside: Outside | None
    requests: tuple[Request, ...]


@pytest.fixture(scope="module", params=PRESETS)
def used(request: pytest.FixtureRequest) -> Iterator[Used]:
    preset: str = request.param
    if preset == "small":
        yield use(preset, request.getfixturevalue("small"), None)
        return
    with outside() as place, Server(preset, operator_file=OPERATOR_FILE) as server:
        registrations = server.root / "registrations"
        registrations.mkdir()
        registration = REGISTRATION.format(url=place.url, token=secrets.token_hex(16))
        (registrations / "outside.yaml").write_text(registration)
        server.environment |= {
            "SYNAPSE_PUBLIC_BASEURL": server.base_url,
            "SYNAPSE_AS_REGISTRATION_DIR": str(registrations),
        }
        server.start()
        yield use(preset, server, place)


def use(preset: str, server: Server, place: Outside | None) -> Used:
    """Run the flow and the probes, and wait until the log has all requests."""
    mark = server.log.mark()
    asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
    for method, path, status in PROBES:
        assert raw_request(server.http_port, method, path, body=b"{}").status == status
    wanted = [row for row in TABLE if row.workers(preset)]

    def complete() -> bool:
        requests = server.log.requests(mark)
        return all(any(row.fits(request) for request in requests) for row in wanted)

    # A test reports missing requests better.
    with contextlib.suppress(AssertionError):
        wait_until("end of the request log", complete)
    requests = tuple(server.log.requests(mark))
    return Used(preset=preset, server=server, outside=place, requests=requests)


def test_each_request_is_answered_by_its_worker(used: Used) -> None:
    answered: dict[Row, list[Request]] = {row: [] for row in TABLE}
    problems: list[str] = []
    for request in used.requests:
        row = next((row for row in TABLE if row.fits(request)), None)
        if row is not None:
            answered[row].append(request)
        elif OTHER_REPLICATION not in request.uri:
            problems.append(f"the table has no row for {request}")
    for row, requests in answered.items():
        workers = row.workers(used.preset)
        if workers and not requests:
            problems.append(f"nobody was asked {row.asks}")
        problems += [
            f"{request}, but it is for {' '.join(sorted(workers)) or 'nobody'}"
            for request in requests
            if request.process not in workers
        ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("used", ["complement"], indirect=True)
def test_each_room_has_its_event_persister(used: Used) -> None:
    asyncio.run(write_to_rooms_of_every_persister(used.server))


async def write_to_rooms_of_every_persister(server: Server) -> None:
    seen: set[str] = set()
    async with Clients(server.base_url) as clients:
        session = await clients.register("shards")
        # The chance that all 30 rooms have the same persister is one in a billion.
        for _ in range(30):
            room_id = str(ok(await session.nio.room_create(), RoomCreateResponse).room_id)
            digest = hashlib.sha256(room_id.encode()).digest()
            persister = PERSISTERS[int.from_bytes(digest, "little") % len(PERSISTERS)]
            if persister in seen:
                continue
            # The events of the room's creation are in the log before the mark.
            mark = server.log.settle()
            await room_flows.say(session, room_id, "whose is this?")
            server.log.settle()
            writers = {r.process for r in server.log.requests(mark) if "/send_events/" in r.uri}
            assert writers == {persister}
            seen.add(persister)
            if len(seen) == len(PERSISTERS):
                return
    raise AssertionError(f"no rooms of all persisters, only of {seen}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The worker of one background job. `traces` matches lines that only this worker logs."""

    traces: str
    complement: str
    full: str


JOBS = (
    Job(traces=rf"Received response to POST \S+{PUSH_PATH}", complement="pusher1", full="pusher1"),
    Job(
        traces=rf"Received response to PUT \S+{TRANSACTIONS_PATH}",
        complement="appservice1",
        full="appservice1",
    ),
    # Every 30 s.
    Job(
        traces="event_push_actions.*Rotating notifications",
        complement="background_worker1",
        full="background_worker1",
    ),
)


@pytest.mark.parametrize("used", ["complement", "full"], indirect=True)
def test_background_work_is_done_by_its_worker(used: Used) -> None:
    place = used.outside
    assert place is not None
    event_id = asyncio.run(notify(used.server, place))
    wait_until("notification", lambda: place.pushed(event_id))
    wait_until("transaction", lambda: place.passed_on(event_id))
    for job in JOBS:
        worker = getattr(job, used.preset)
        used.server.log.wait_for(rf"^{worker} \| .*{job.traces}")
        done = re.findall(rf"^(\S+) \| .*{job.traces}", used.server.log.text(), re.MULTILINE)
        assert set(done) == {worker}


async def notify(server: Server, place: Outside) -> str:
    """Send an event for a push gateway and an application service. Returns its ID."""
    async with Clients(server.base_url) as clients:
        talk = await room_flows.converse(clients, SHARED_SECRET)
        pusher = {
            "kind": "http",
            "app_id": "org.example.app",
            "app_display_name": "App",
            "device_display_name": "Phone",
            "pushkey": secrets.token_hex(8),
            "lang": "en",
            "data": {"url": f"{place.url}{PUSH_PATH}"},
        }
        await talk.bob.call("POST", f"{C}/pushers/set", pusher)
        event_id, _ = await room_flows.send(talk)
        return event_id
