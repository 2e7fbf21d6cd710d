"""Changes of every stream, each with what a long poll that it wakes brings."""

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from signedjson.key import generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from unpaddedbase64 import encode_base64

from tests.account_flows import SLIDING_SYNC
from tests.homeserver import Homeserver, Member, Send, event_id
from tests.matrix import CLIENT, Json, Session

THREADS = "io.element.msc4308.thread_subscriptions"
PROFILES = "org.matrix.msc4262.profiles"
STICKY = "org.matrix.msc4354.sticky_events"
FILTER = {"org.matrix.msc4429.profile_fields": {"ids": ["displayname"]}}
EXTENSIONS: Json = {
    "to_device": {"enabled": True},
    "e2ee": {"enabled": True},
    "account_data": {"enabled": True},
    "receipts": {"enabled": True},
    "typing": {"enabled": True},
    THREADS: {"enabled": True},
    PROFILES: {"enabled": True, "fields": ["displayname"]},
}
LIST: Json = {"ranges": [[0, 99]], "timeline_limit": 5, "required_state": []}
# In milliseconds: how long a poll must find nothing until its user's changes count as over.
QUIET = 300


class Poll:
    """A user's long polls through /sync. The user stays offline: coming online is a change."""

    name = "sync"

    def __init__(self, session: Session) -> None:
        self.session = session
        self.token: str | None = None

    async def ask(self, milliseconds: int) -> Json:
        """Poll once, from where the last answer ended."""
        query = {
            "timeout": milliseconds,
            "set_presence": "offline",
            "filter": json.dumps(FILTER),
            **({"since": self.token} if self.token else {}),
        }
        answer = await self.session.call("GET", f"{CLIENT}/sync?{urlencode(query)}")
        self.token = answer["next_batch"]
        return answer

    @staticmethod
    def nothing(answer: Json) -> bool:
        """Return whether an answer holds no change."""
        return not {
            "rooms", "account_data", "presence", "to_device", "device_lists",
            "org.matrix.msc4429.users",
        } & answer.keys()  # fmt: skip


class SlidingPoll(Poll):
    """The same through sliding sync, with every extension."""

    name = "sliding sync"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        # Of sticky events the client says itself how far it has come.
        self.sticky: Json = {}

    async def ask(self, milliseconds: int) -> Json:
        query = {"timeout": milliseconds, **({"pos": self.token} if self.token else {})}
        extensions = {**EXTENSIONS, STICKY: {"enabled": True, **self.sticky}}
        body = {"lists": {"all": LIST}, "extensions": extensions, "conn_id": "wakes"}
        answer = await self.session.call("POST", f"{SLIDING_SYNC}?{urlencode(query)}", body)
        self.token = answer["pos"]
        if STICKY in answer["extensions"]:
            self.sticky = {"since": answer["extensions"][STICKY]["next_batch"]}
        return answer

    @staticmethod
    def nothing(answer: Json) -> bool:
        extensions = answer["extensions"]
        e2ee = extensions.get("e2ee", {})
        lists = e2ee.get("device_lists", {})
        return not (
            answer["rooms"]
            or extensions.get("to_device", {}).get("events")
            or lists.get("changed")
            or lists.get("left")
            or any(any(extensions.get(name, {}).values()) for name in ("account_data", THREADS))
            or any(extensions.get(name, {}).get("rooms") for name in ("receipts", "typing", STICKY))
            or extensions.get(PROFILES, {}).get("users")
        )


async def quieten(poll: Poll, within: float = 30.0) -> None:
    """Poll until there is nothing new; `within` is in seconds."""
    deadline = time.monotonic() + within
    await poll.ask(0)
    while not poll.nothing(answer := await poll.ask(QUIET)):
        assert time.monotonic() < deadline, f"{poll.name} has something new for ever: {answer}"


@dataclass(kw_only=True)
class World:
    """Alice on two devices, Bob, and Zoe of another server in a room; Carol in no room."""

    alice: Session
    alice_phone: Session
    bob: Session
    carol: Session
    carol_phone: Session
    room_id: str
    event_id: str
    other: Homeserver
    zoe: Member
    send: Send
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)

    def edu(self, kind: str, content: Json) -> None:
        self.other.transaction(self.send, edus=((kind, content),))


Change = Callable[[World, str], Awaitable[tuple[str, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of change: `change` makes it, and returns what a poll's answer holds then.

    `watcher` is the user who polls. `polls` are those whose answers can hold it.
    """

    name: str
    change: Change
    watcher: str
    polls: tuple[type[Poll], ...]


KINDS: list[Kind] = []


def kind(*polls: type[Poll], watcher: str = "alice") -> Callable[[Change], Change]:
    """Add a function to the kinds under its own name."""

    def add(change: Change) -> Change:
        name = change.__name__.replace("_", " ")
        KINDS.append(
            Kind(name=name, change=change, watcher=watcher, polls=polls or (Poll, SlidingPoll))
        )
        return change

    return add


def room(world: World) -> str:
    return f"{CLIENT}/rooms/{quote(world.room_id)}"


def user(session: Session) -> str:
    return f"{CLIENT}/user/{quote(session.user_id)}"


@kind()
async def message(world: World, mark: str) -> tuple[str, ...]:
    body = {"msgtype": "m.text", "body": mark}
    await world.bob.call("PUT", f"{room(world)}/send/m.room.message/{mark}", body)
    return (mark,)


@kind()
async def state(world: World, mark: str) -> tuple[str, ...]:
    await world.alice_phone.call("PUT", f"{room(world)}/state/m.room.topic/", {"topic": mark})
    return (mark,)


@kind()
async def redaction(world: World, mark: str) -> tuple[str, ...]:
    body = {"msgtype": "m.text", "body": mark}
    path = f"{room(world)}/send/m.room.message/{mark}"
    event_id = (await world.alice_phone.call("PUT", path, body))["event_id"]
    await world.alice_phone.call("PUT", f"{room(world)}/redact/{quote(event_id)}/{mark}r", {})
    return (event_id,)


@kind()
async def own_room(world: World, mark: str) -> tuple[str, ...]:
    made = await world.alice_phone.call("POST", f"{CLIENT}/createRoom", {"name": mark})
    return (made["room_id"],)


@kind()
async def invite(world: World, mark: str) -> tuple[str, ...]:
    body = {"name": mark, "invite": [world.alice.user_id]}
    return ((await world.bob.call("POST", f"{CLIENT}/createRoom", body))["room_id"],)


@kind()
async def account_data(world: World, mark: str) -> tuple[str, ...]:
    path = f"{user(world.alice)}/account_data/org.example.{mark}"
    await world.alice_phone.call("PUT", path, {"a": 1})
    return (mark,)


@kind()
async def room_account_data(world: World, mark: str) -> tuple[str, ...]:
    path = f"{user(world.alice)}/rooms/{quote(world.room_id)}/account_data/org.example.{mark}"
    await world.alice_phone.call("PUT", path, {"a": 1})
    return (mark,)


@kind()
async def tag(world: World, mark: str) -> tuple[str, ...]:
    path = f"{user(world.alice)}/rooms/{quote(world.room_id)}/tags/u.{mark}"
    await world.alice_phone.call("PUT", path, {"order": 0.5})
    return (mark,)


@kind()
async def push_rule(world: World, mark: str) -> tuple[str, ...]:
    path = f"{CLIENT}/pushrules/global/content/{mark}"
    await world.alice_phone.call("PUT", path, {"pattern": mark, "actions": ["notify"]})
    return (mark,)


@kind()
async def receipt(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    await world.bob.call("POST", f"{room(world)}/receipt/m.read/{quote(world.event_id)}", {})
    return ("m.receipt", world.bob.user_id)


@kind()
async def own_private_receipt(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    path = f"{room(world)}/receipt/m.read.private/{quote(world.event_id)}"
    await world.alice_phone.call("POST", path, {})
    return ("m.read.private", world.alice.user_id)


@kind()
async def typing(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    path = f"{room(world)}/typing/{quote(world.bob.user_id)}"
    await world.bob.call("PUT", path, {"typing": True, "timeout": 60_000})
    return ("m.typing", world.bob.user_id)


@kind(Poll)
async def presence(world: World, mark: str) -> tuple[str, ...]:
    path = f"{CLIENT}/presence/{quote(world.bob.user_id)}/status"
    await world.bob.call("PUT", path, {"presence": "online", "status_msg": mark})
    return (mark,)


@kind()
async def to_device(world: World, mark: str) -> tuple[str, ...]:
    body = {"messages": {world.alice.user_id: {"*": {"mark": mark}}}}
    await world.bob.call("PUT", f"{CLIENT}/sendToDevice/org.example/{mark}", body)
    return (mark,)


@kind()
async def device(world: World, mark: str) -> tuple[str, ...]:
    await rename(world.bob, mark)
    return changed(world.bob.user_id)


@kind()
async def own_device(world: World, mark: str) -> tuple[str, ...]:
    await rename(world.alice_phone, mark)
    return changed(world.alice.user_id)


@kind(watcher="carol")
async def device_of_a_user_in_no_room(world: World, mark: str) -> tuple[str, ...]:
    await rename(world.carol_phone, mark)
    return changed(world.carol.user_id)


@kind()
async def cross_signing_keys(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    await cross_sign(world, world.bob)
    return changed(world.bob.user_id)


@kind()
async def own_cross_signing_keys(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    await cross_sign(world, world.alice_phone)
    return changed(world.alice.user_id)


@kind()
async def signature_of_another_user(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    alice, bob = world.alice.user_id, world.bob.user_id
    master = public(world.keys[bob]["master"], bob, "master")
    signed = sign_json(master, alice, world.keys[alice]["user_signing"])
    (key,) = master["keys"].values()
    body = {bob: {key: signed}}
    answer = await world.alice_phone.call("POST", f"{CLIENT}/keys/signatures/upload", body)
    assert answer["failures"] == {}, answer
    return changed(bob)


@kind(Poll, SlidingPoll)
async def profile(world: World, mark: str) -> tuple[str, ...]:
    await name(world.bob, mark)
    return (mark,)


@kind(Poll, SlidingPoll, watcher="carol")
async def profile_of_a_user_in_no_room(world: World, mark: str) -> tuple[str, ...]:
    await name(world.carol_phone, mark)
    return (mark,)


@kind(SlidingPoll)
async def thread_subscription(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    path = (
        f"/_matrix/client/unstable/io.element.msc4306/rooms/{quote(world.room_id)}"
        f"/thread/{quote(world.event_id)}/subscription"
    )
    await world.alice_phone.call("PUT", path, {})
    return (f'"{world.event_id}": {{"automatic"',)


@kind()
async def sticky_event(world: World, mark: str) -> tuple[str, ...]:
    path = (
        f"{room(world)}/send/org.example.sticky/{mark}?org.matrix.msc4354.sticky_duration_ms=60000"
    )
    await world.bob.call("PUT", path, {"mark": mark})
    return (mark, "msc4354_sticky_duration")


@kind()
async def federated_message(world: World, mark: str) -> tuple[str, ...]:
    world.other.transaction(world.send, pdus=(world.zoe.message(mark),))
    return (mark,)


@kind()
async def federated_invite(world: World, mark: str) -> tuple[str, ...]:
    room_id = f"!{mark}:{world.other.name}"
    event = world.other.event(
        {
            "type": "m.room.member",
            "room_id": room_id,
            "sender": world.zoe.user_id,
            "state_key": world.alice.user_id,
            "content": {"membership": "invite"},
        }
    )
    body = {"room_version": "10", "event": event, "invite_room_state": []}
    path = f"/_matrix/federation/v2/invite/{quote(room_id)}/{quote(event_id(event))}"
    world.other.ask(world.send, "PUT", path, body)
    return (room_id,)


@kind()
async def federated_typing(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    content = {"room_id": world.room_id, "user_id": world.zoe.user_id, "typing": True}
    world.edu("m.typing", content)
    return ("m.typing", world.zoe.user_id)


@kind()
async def federated_receipt(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    receipt = {"data": {"ts": int(time.time() * 1000)}, "event_ids": [world.event_id]}
    world.edu("m.receipt", {world.room_id: {"m.read": {world.zoe.user_id: receipt}}})
    return ("m.receipt", world.zoe.user_id)


@kind(Poll)
async def federated_presence(world: World, mark: str) -> tuple[str, ...]:
    push = {"presence": "online", "last_active_ago": 1, "status_msg": mark}
    world.edu("m.presence", {"push": [{"user_id": world.zoe.user_id, **push}]})
    return (mark,)


@kind()
async def federated_message_to_a_device(world: World, mark: str) -> tuple[str, ...]:
    content = {
        "sender": world.zoe.user_id,
        "type": "org.example",
        "message_id": mark,
        "messages": {world.alice.user_id: {"*": {"mark": mark}}},
    }
    world.edu("m.direct_to_device", content)
    return (mark,)


@kind()
async def federated_device(world: World, mark: str) -> tuple[str, ...]:
    keys = {
        "user_id": world.zoe.user_id,
        "device_id": mark,
        "algorithms": [],
        "keys": {f"ed25519:{mark}": mark},
        "signatures": {},
    }
    world.other.devices = [{"device_id": mark, "keys": keys, "device_display_name": mark}]
    content = {
        "user_id": world.zoe.user_id,
        "device_id": mark,
        "keys": keys,
        "stream_id": next(world.other.numbers),
        "prev_id": [],
        "device_display_name": mark,
    }
    world.edu("m.device_list_update", content)
    return changed(world.zoe.user_id)


@kind()
async def federated_cross_signing_keys(world: World, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    zoe = world.zoe.user_id
    master, signing = (generate_signing_key(str(number)) for number in range(2))
    self_signing = sign_json(public(signing, zoe, "self_signing"), zoe, as_id(master))
    content = {
        "user_id": zoe,
        "master_key": public(master, zoe, "master"),
        "self_signing_key": self_signing,
    }
    world.edu("m.signing_key_update", content)
    return changed(zoe)


async def rename(session: Session, mark: str) -> None:
    """Give a session's device keys and a name: both are changes of a device list."""
    path = f"{CLIENT}/devices/{session.device_id}"
    await session.call("PUT", path, {"display_name": mark})


async def name(session: Session, mark: str) -> None:
    path = f"{CLIENT}/profile/{quote(session.user_id)}/displayname"
    await session.call("PUT", path, {"displayname": mark})


async def cross_sign(world: World, session: Session) -> None:
    """Upload new cross-signing keys for a user without any."""
    keys = {use: generate_signing_key(use) for use in ("master", "self_signing", "user_signing")}
    world.keys[session.user_id] = {use: as_id(key) for use, key in keys.items()}
    master = world.keys[session.user_id]["master"]
    body = {"master_key": public(keys["master"], session.user_id, "master")}
    for use in ("self_signing", "user_signing"):
        unsigned = public(keys[use], session.user_id, use)
        body[f"{use}_key"] = sign_json(unsigned, session.user_id, master)
    await session.call("POST", f"{CLIENT}/keys/device_signing/upload", body)


def public(key: Any, user_id: str, usage: str) -> Json:
    """Return a cross-signing key as it is published."""
    text = encode_base64(get_verify_key(key).encode())
    return {"user_id": user_id, "usage": [usage], "keys": {f"ed25519:{text}": text}}


def as_id(key: Any) -> Any:
    """Name a key after itself, as cross-signing keys are named."""
    key.version = encode_base64(get_verify_key(key).encode())
    return key


def changed(user_id: str) -> tuple[str, ...]:
    """Return the parts of an answer that reports a change of a user's devices."""
    return ('"device_lists"', f'"changed": ["{user_id}"]')


async def woken(
    world: World, change: Kind, listeners: Callable[[], Awaitable[int]], milliseconds: int
) -> dict[str, str]:
    """Poll in each way for so long, make a change, and return why a poll did not wake, by its name.

    `listeners` counts the polls that wait. A poll counts as woken if it answers with the change
    before its time is over.
    """
    polls = [poll(getattr(world, change.watcher)) for poll in change.polls]
    waiting, began = await sleeping(polls, listeners, milliseconds)

    async def failure(poll: Poll, task: asyncio.Task[Json]) -> str | None:
        answer = await task
        while (time.monotonic() - began) * 1000 < milliseconds:
            if all(part in json.dumps(answer) for part in expected):
                return None
            # Woken by something else, or by the first part of it.
            answer = await poll.ask(QUIET)
        return f"{expected} in {json.dumps(answer)[:500]}"

    expected = await change.change(world, f"x{secrets.token_hex(4)}")
    found = await asyncio.gather(*map(failure, polls, waiting))
    return {poll.name: text for poll, text in zip(polls, found, strict=True) if text}


async def sleeping(
    polls: list[Poll], listeners: Callable[[], Awaitable[int]], milliseconds: int
) -> tuple[list[asyncio.Task[Json]], float]:
    """Return long polls that all wait at a process, and the time before they were sent."""
    for _ in range(10):
        for poll in polls:
            await quieten(poll)
        before = await listeners()
        assert before == 0, f"{before} other polls"
        began = time.monotonic()
        tasks = [asyncio.create_task(poll.ask(milliseconds)) for poll in polls]
        # A late part of an earlier change may end one before all wait.
        while not any(task.done() for task in tasks):
            if await listeners() == len(polls):
                return tasks, began
            await asyncio.sleep(0.05)
        # End the others too: a change of account data wakes each.
        path = f"{user(polls[0].session)}/account_data/org.example.again"
        await polls[0].session.call("PUT", path, {"now": time.time_ns()})
        await asyncio.gather(*tasks)
    raise AssertionError("there is always something new")


def listeners_in(metrics: str) -> int:
    """Return how many long polls wait, from a process's metrics."""
    found = re.findall(r"^synapse_notifier_listeners(?:\{[^}]*\})? (\S+)$", metrics, re.MULTILINE)
    assert found, "no metric of listeners"
    return int(sum(map(float, found)))
