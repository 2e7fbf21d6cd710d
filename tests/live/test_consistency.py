"""Read your own writes in test mode: a write at one process, then a read at another."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.controls import WORKER, ControlledServer, User, quoted, texts
from tests.matrix import CLIENT
from tests.raw_http import raw_request

WORKERS = (
    "event_persister:2, event_creator, synchrotron, client_reader, device_lists:2, stream_writers="
    "account_data+presence+push_rules+receipts+thread_subscriptions+to_device+typing"
)
OPERATOR_FILE = "experimental_features: {msc4306_enabled: true, msc4354_enabled: true}\n"
# None of them writes any stream of these tests.
SYNC, READER = "synchrotron1", "client_reader1"
READERS = (READER, SYNC, "event_creator1")
UNSTABLE = "/_matrix/client/unstable"
# Groups of users at the same time, and rounds of each.
GROUPS, ROUNDS = 2, 17
PAIRS = 1000
# Rows of these streams come of federation, administration and changes of configuration.
WITHOUT_TEST = {
    "backfill",
    "federation",
    "presence_federation",
    "pushers",
    "profile_updates",
    "quarantined_media",
    "un_partial_stated_event",
    "un_partial_stated_room",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Two users in a room with a thread. Alice writes; Bob reads some of it."""

    alice: User
    bob: User
    room: str
    thread: str

    @classmethod
    def make(cls, server: ControlledServer) -> "Group":
        alice, bob = server.users(2, prefix="pair")
        room = alice.create_room(preset="public_chat")
        bob.call("POST", f"{CLIENT}/join/{room}", {})
        thread = alice.send(room, "root")
        server.control("/test/barrier")
        return cls(alice=alice, bob=bob, room=room, thread=thread)

    @property
    def in_room(self) -> str:
        return f"{CLIENT}/rooms/{quoted(self.room)}"

    @property
    def of_alice(self) -> str:
        return f"{CLIENT}/user/{quoted(self.alice.user_id)}"


# A probe writes, and returns one read for each pair. A read returns whether it saw the write.
Read = Callable[[], bool]
Probe = Callable[[Group, int], list[Read]]


def synced(user: User, found: Callable[[Any], bool], query: str = "") -> Read:
    """Sync from now on; call it before the write."""
    since = user.sync(at=SYNC)["next_batch"]
    return lambda: found(user.sync(f"{since}{query}", at=SYNC))


def stored(user: User, path: str, expected: Any, part: str = "") -> list[Read]:
    """Read a path, or a part of its answer, at several processes. An error is a stale read."""

    def reader(at: str) -> Read:
        headers = {"Authorization": f"Bearer {user.access_token}", WORKER: at}

        def read() -> bool:
            answer = raw_request(user.server.http_port, "GET", path, headers)
            found = answer.json()
            return answer.status == 200 and (found[part] if part else found) == expected

        return read

    return [reader(at) for at in READERS]


def in_room(group: Group, part: str) -> Callable[[Any], list[Any]]:
    """Return the events of a part of the room in what /sync answered."""
    return lambda answer: list(
        answer.get("rooms", {}).get("join", {}).get(group.room, {}).get(part, {}).get("events", [])
    )


def messages(group: Group, number: int) -> list[Read]:
    text = f"message{number}"
    sync = synced(group.bob, lambda answer: text in texts(answer, group.room))
    group.alice.send(group.room, text)
    page = f"{group.in_room}/messages?dir=b&limit=1"

    def latest() -> bool:
        (event,) = group.bob.call("GET", page, at=READER)["chunk"]
        return bool(event["content"].get("body") == text)

    return [sync, latest]


def state(group: Group, number: int) -> list[Read]:
    path, content = f"{group.in_room}/state/m.room.topic/", {"topic": f"topic{number}"}
    group.alice.call("PUT", path, content)
    return stored(group.bob, path, content["topic"], "topic")


def sticky_events(group: Group, number: int) -> list[Read]:
    """A sticky event that is not in the timeline any more."""
    body = f"sticky{number}"
    one = quoted(json.dumps({"room": {"timeline": {"limit": 1}}}))

    def found(answer: Any) -> bool:
        events = in_room(group, "msc4354_sticky")(answer)
        return any(event["content"].get("body") == body for event in events)

    sync = synced(group.bob, found, f"&filter={one}")
    sticky = "org.matrix.msc4354.sticky_duration_ms=60000"
    path = f"{group.in_room}/send/m.room.message"
    for transaction in (f"{body}?{sticky}", f"{body}-after"):
        group.alice.call("PUT", f"{path}/{transaction}", {"msgtype": "m.text", "body": body})
    return [sync]


def receipts(group: Group, number: int) -> list[Read]:
    event = group.alice.send(group.room, f"read{number}")

    def found(answer: Any) -> bool:
        return any(event in shown["content"] for shown in in_room(group, "ephemeral")(answer))

    sync = synced(group.bob, found)
    group.alice.call("POST", f"{group.in_room}/receipt/m.read/{quoted(event)}", {})
    return [sync]


def typing(group: Group, number: int) -> list[Read]:
    def found(answer: Any) -> bool:
        shown = [
            event["content"]["user_ids"]
            for event in in_room(group, "ephemeral")(answer)
            if event["type"] == "m.typing"
        ]
        return shown == [[group.alice.user_id] if number % 2 else []]

    path = f"{group.in_room}/typing/{quoted(group.alice.user_id)}"
    started = {"typing": True, "timeout": 30_000}
    # From the other state, whatever earlier rounds left.
    group.alice.call("PUT", path, {"typing": False} if number % 2 else started)
    sync = synced(group.bob, found)
    group.alice.call("PUT", path, started if number % 2 else {"typing": False})
    return [sync]


def account_data(group: Group, number: int) -> list[Read]:
    path, content = f"{group.of_alice}/account_data/org.example", {"number": number}
    group.alice.call("PUT", path, content)
    return stored(group.alice, path, content)


def tags(group: Group, number: int) -> list[Read]:
    path, content = f"{group.of_alice}/rooms/{quoted(group.room)}/tags", {"order": number / 100}
    group.alice.call("PUT", f"{path}/u.mine", content)
    return stored(group.alice, path, {"tags": {"u.mine": content}})


def to_device(group: Group, number: int) -> list[Read]:
    def found(answer: Any) -> bool:
        events = answer.get("to_device", {}).get("events", [])
        return any(event["content"] == {"number": number} for event in events)

    sync = synced(group.bob, found)
    path = f"{CLIENT}/sendToDevice/org.example/{time.monotonic_ns()}"
    message = {group.bob.user_id: {group.bob.device_id: {"number": number}}}
    group.alice.call("PUT", path, {"messages": message})
    return [sync]


def device_lists(group: Group, number: int) -> list[Read]:
    changed = synced(
        group.bob,
        lambda answer: group.alice.user_id in answer.get("device_lists", {}).get("changed", []),
    )
    path, name = f"{CLIENT}/devices/{quoted(group.alice.device_id)}", f"phone{number}"
    group.alice.call("PUT", path, {"display_name": name})
    return [changed, *stored(group.alice, path, name, "display_name")]


def presence(group: Group, number: int) -> list[Read]:
    path = f"{CLIENT}/presence/{quoted(group.alice.user_id)}/status"
    text = f"status{number}"

    def found(answer: Any) -> bool:
        events = answer.get("presence", {}).get("events", [])
        return any(event["content"].get("status_msg") == text for event in events)

    sync = synced(group.bob, found)
    group.alice.call("PUT", path, {"presence": "online", "status_msg": text})
    return [sync]


def push_rules(group: Group, number: int) -> list[Read]:
    path = f"{CLIENT}/pushrules/global/content/mine"
    group.alice.call("PUT", path, {"actions": ["notify"], "pattern": f"word{number}"})
    return stored(group.alice, path, f"word{number}", "pattern")


def thread_subscriptions(group: Group, _number: int) -> list[Read]:
    """Read by sliding sync, as the specification of them has it."""
    asked = {"extensions": {"io.element.msc4308.thread_subscriptions": {"enabled": True}}}
    path = f"{UNSTABLE}/org.matrix.simplified_msc3575/sync"
    before = group.alice.call("POST", f"{path}?timeout=0", asked, at=SYNC)["pos"]
    thread = f"{UNSTABLE}/io.element.msc4306/rooms/{quoted(group.room)}/thread"
    subscription = f"{thread}/{quoted(group.thread)}/subscription"
    group.alice.call("PUT", subscription, {})
    group.alice.call("DELETE", subscription)
    group.alice.call("PUT", subscription, {})

    def found() -> bool:
        answer = group.alice.call("POST", f"{path}?timeout=0&pos={before}", asked, at=SYNC)
        return group.thread in json.dumps(answer)

    return [found, *stored(group.alice, subscription, {"automatic": False})]


def profiles(group: Group, number: int) -> list[Read]:
    """Read from caches, which the stream `caches` clears."""
    path = f"{CLIENT}/profile/{quoted(group.bob.user_id)}/displayname"
    group.bob.call("PUT", path, {"displayname": f"Bob {number}"})
    return stored(group.alice, path, {"displayname": f"Bob {number}"})


def logins(group: Group, _number: int) -> list[Read]:
    """A token that has been logged out, read where it was used last."""
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": group.bob.localpart},
        "password": group.bob.password,
    }
    token = group.bob.call("POST", f"{CLIENT}/login", login)["access_token"]
    port, whoami = group.bob.server.http_port, f"{CLIENT}/account/whoami"

    def asked(method: str, path: str, at: str) -> int:
        headers = {"Authorization": f"Bearer {token}", WORKER: at}
        return raw_request(port, method, path, headers).status

    assert [asked("GET", whoami, at) for at in READERS] == [200, 200, 200]
    assert asked("POST", f"{CLIENT}/logout", "main") == 200
    return [lambda at=at: asked("GET", whoami, at) == 401 for at in READERS]  # type: ignore[misc]


# The stream that each is about, and the number of pairs.
PROBES: tuple[tuple[str, Probe], ...] = (
    ("events", messages),
    ("events", state),
    ("sticky_events", sticky_events),
    ("receipts", receipts),
    ("typing", typing),
    ("account_data", account_data),
    ("account_data", tags),
    ("to_device", to_device),
    ("device_lists", device_lists),
    ("presence", presence),
    ("push_rules", push_rules),
    ("thread_subscriptions", thread_subscriptions),
    ("caches", profiles),
    ("caches", logins),
)


def run(server: ControlledServer, groups: int, rounds: int) -> tuple[Counter[str], Counter[str]]:
    """Return the number of pairs of each probe, and the number of its stale reads."""
    pairs: Counter[str] = Counter()
    stale: Counter[str] = Counter()

    def one(group: Group) -> None:
        for number in range(1, rounds + 1):
            for _, probe in PROBES:
                for read in probe(group, number):
                    pairs[probe.__name__] += 1
                    stale[probe.__name__] += not read()

    made = [Group.make(server) for _ in range(groups)]
    with ThreadPoolExecutor(groups) as threads:
        list(threads.map(one, made))
    return pairs, +stale


@pytest.fixture(scope="module")
def server() -> Iterator[ControlledServer]:
    with ControlledServer(WORKERS, operator_file=OPERATOR_FILE) as found:
        found.start()
        yield found
        found.stop()


def test_no_read_is_stale(server: ControlledServer) -> None:
    streams = server.control("/test/barrier")["streams"].keys()
    assert {stream for stream, _ in PROBES} == streams - WITHOUT_TEST
    mark = server.log.mark()
    pairs, stale = run(server, GROUPS, ROUNDS)
    # On a machine that is slow enough, a response leaves after a second, and the log says so. Each
    # of the reads after it may be stale.
    early = server.log.text(mark).count("answered early")
    assert stale.total() <= early * len(READERS), stale
    assert pairs.total() >= PAIRS


def test_an_answer_waits_for_a_slow_process_but_not_for_ever(server: ControlledServer) -> None:
    (alice,) = server.users(1)
    kind = alice.account_data("org.example")

    def took() -> float:
        began = time.monotonic()
        alice.call("PUT", kind, {"at": began})
        return time.monotonic() - began

    took()
    server.control("/test/replication/delay", milliseconds=300)
    assert took() > 0.3
    assert alice.call("GET", kind, at=READER) == alice.call("GET", kind, at="stream_writers1")
    server.control("/test/replication/delay", milliseconds=20_000)
    mark = server.log.mark()
    assert took() > 1
    early = r"answered early: .*\w+ has not seen account_data of stream_writers1 up to \d+"
    server.log.wait_for(early, mark)
    server.control("/test/replication/delay", milliseconds=0)


@pytest.mark.parametrize("action", ["pause", "kill"])
def test_no_answer_waits_for_a_process_that_sees_nothing(
    server: ControlledServer, action: str
) -> None:
    (alice,) = server.users(1)
    kind = alice.account_data("org.example")
    server.control("/test/barrier")
    server.control(f"/test/workers/{READER}/{action}")
    mark = server.log.mark()
    for number in range(3):
        alice.call("PUT", kind, {"number": number})
    if action == "pause":
        server.control(f"/test/workers/{READER}/resume")
    server.control(f"/test/workers/{READER}/restart")
    server.log.settle()
    assert f"{READER} has not seen" not in server.log.text(mark)
    alice.call("PUT", kind, {"number": 3})
    assert alice.call("GET", kind, at=READER) == {"number": 3}


def test_without_it_reads_are_stale() -> None:
    with ControlledServer(WORKERS, {"GANGLION_CONSISTENT": "no"}, OPERATOR_FILE) as lagging:
        lagging.start()
        lagging.control("/test/replication/delay", milliseconds=300)
        _, stale = run(lagging, 1, 2)
        # Some read the database, and some are written where they are read.
        assert len(stale) > len(PROBES) // 3
        lagging.stop()
