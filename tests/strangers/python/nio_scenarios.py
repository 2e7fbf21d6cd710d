"""Scenarios of matrix-nio with its encryption (vodozemac): nio_scenarios.py NAME.

Each client syncs all the time, as a bot does. A scenario fails with the traceback of an exception,
and so does a request that the server refuses.
"""

import asyncio
import hashlib
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any, TypeVar

import aiohttp
import nio
from nio.api import RelationshipType
from nio.crypto.attachments import decrypt_attachment
from nio.event_builders.state_events import EnableEncryptionBuilder

from waiting import WITHIN, eventually

T = TypeVar("T")
Look = Callable[[], T | None]
HOMESERVER = os.environ["HOMESERVER"]
# No retries: a 429 or a broken connection must fail the scenario.
STRICT = nio.AsyncClientConfig(
    max_limit_exceeded=0, max_timeouts=0, encryption_enabled=True, store_sync_tokens=True
)
TEXT = "m.room.message"


def ok(answer: Any, kind: type[T]) -> T:
    """Return an answer that must be of a kind."""
    assert isinstance(answer, kind), answer
    return answer


class Device:
    """A logged-in client that syncs, and all that it received."""

    def __init__(self, client: Any, password: str, stack: AsyncExitStack) -> None:
        self.client = client
        self.password = password
        self.received: list[Any] = []
        client.add_event_callback(self._receive, nio.Event)
        client.add_ephemeral_callback(self._receive, nio.EphemeralEvent)
        client.add_to_device_callback(self._receive_at_device, nio.ToDeviceEvent)
        client.add_presence_callback(self._receive_at_device, nio.PresenceEvent)
        client.add_response_callback(self._check)
        self.task = asyncio.create_task(client.sync_forever(timeout=30_000, full_state=True))
        stack.push_async_callback(self._stop)

    @property
    def user_id(self) -> str:
        return str(self.client.user_id)

    async def _receive(self, _: Any, event: Any) -> None:
        self.received.append(event)

    async def _receive_at_device(self, event: Any) -> None:
        self.received.append(event)

    async def _check(self, answer: Any) -> None:
        assert not isinstance(answer, nio.ErrorResponse), answer

    async def _stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.client.close()

    async def until(self, what: str, look: Look[T]) -> T:
        """Wait until `look` returns something; `what` names it in the error."""
        deadline = time.monotonic() + WITHIN
        while not (found := look()):
            if self.task.done():
                self.task.result()
            assert time.monotonic() < deadline, f"{self.user_id}: no {what} in {self.received}"
            await asyncio.sleep(0.05)
        return found

    async def receive(self, kind: type[T], where: Callable[[T], object] = bool) -> T:
        """Wait for an event of a kind."""
        name = kind.__name__
        return await self.until(
            name,
            lambda: next((e for e in self.received if isinstance(e, kind) and where(e)), None),
        )

    async def send(self, room_id: str, kind: str, content: dict[str, Any]) -> str:
        """Send an event, encrypted for devices of others that nobody verified too."""
        answer = await self.client.room_send(room_id, kind, content, ignore_unverified_devices=True)
        return str(ok(answer, nio.RoomSendResponse).event_id)

    async def say(self, room_id: str, text: str, **more: Any) -> str:
        return await self.send(room_id, TEXT, {"msgtype": "m.text", "body": text, **more})


class Makers:
    """Makes devices that end with a scenario."""

    def __init__(self, stack: AsyncExitStack, directory: str) -> None:
        self.stack = stack
        self.directory = directory

    async def register(self, name: str) -> Device:
        """Register NAME-SOMETHING."""
        password = secrets.token_urlsafe()
        client = nio.AsyncClient(HOMESERVER, store_path=self.directory, config=STRICT)
        user = f"{name}-{secrets.token_hex(4)}"
        ok(await client.register(user, password, "first"), nio.RegisterResponse)
        return Device(client, password, self.stack)

    async def log_in(self, device: Device) -> Device:
        """Log a user in on a further device."""
        client = nio.AsyncClient(
            HOMESERVER, device.user_id, store_path=self.directory, config=STRICT
        )
        ok(await client.login(device.password, "second"), nio.LoginResponse)
        return Device(client, device.password, self.stack)


async def room_of(owner: Device, *others: Device, encrypted: bool = False) -> str:
    """Create a room that others join."""
    answer = await owner.client.room_create(
        invite=[other.user_id for other in others],
        initial_state=[EnableEncryptionBuilder().as_dict()] if encrypted else [],
    )
    room_id = str(ok(answer, nio.RoomCreateResponse).room_id)
    for other in others:
        await accept_invite(other, room_id)
    for device in (owner, *others):
        await complete(device, room_id, 1 + len(others), encrypted=encrypted)
        if encrypted:
            await known(device, *others)
    return room_id


async def accept_invite(device: Device, room_id: str) -> None:
    await device.until("invite", lambda: room_id in device.client.invited_rooms)
    ok(await device.client.join(room_id), nio.JoinResponse)


async def complete(device: Device, room_id: str, members: int, *, encrypted: bool) -> None:
    """Wait until a device knows so many members of a room, and whether it is encrypted."""

    def look() -> bool:
        room = device.client.rooms.get(room_id)
        return bool(
            room
            and len(room.users) - len(room.invited_users) == members
            and room.encrypted is encrypted
        )

    await device.until("all members", look)


async def known(device: Device, *others: Device) -> None:
    """Wait until a device knows the keys of others."""
    store = device.client.device_store
    await device.until(
        "devices of others",
        lambda: all(
            other is device or other.client.device_id in store[other.user_id] for other in others
        ),
    )


async def trusted(device: Device, other: Device) -> None:
    """Wait until a device counts another one as verified."""
    store = device.client.device_store[other.user_id]
    await device.until("verified device", lambda: store[other.client.device_id].verified)


async def encrypted_room(make: Makers) -> None:
    """Text and a file in an encrypted room, read on two devices; none of it is in the clear."""
    alice, bob = [await make.register(name) for name in ("alice", "bob")]
    phone = await make.log_in(bob)
    room_id = await room_of(alice, bob, encrypted=True)
    await known(alice, bob, phone)

    event_id = await alice.say(room_id, "do you read me?")
    for device in (bob, phone):
        read = await device.receive(nio.RoomMessageText, lambda e: e.event_id == event_id)
        assert (read.body, read.decrypted) == ("do you read me?", True)
    stored = ok(await alice.client.room_get_event(room_id, event_id), nio.RoomGetEventResponse)
    raw = await stored.transport_response.json()
    assert raw["type"] == "m.room.encrypted"
    assert "body" not in raw["content"]
    answer_id = await bob.say(room_id, "loud and clear")
    await alice.receive(nio.RoomMessageText, lambda e: e.event_id == answer_id)

    secret = secrets.token_bytes(100_000)
    uploaded, keys = await alice.client.upload(
        BytesIO(secret), "application/octet-stream", "secret", encrypt=True, filesize=len(secret)
    )
    url = ok(uploaded, nio.UploadResponse).content_uri
    file = {"url": url, **keys}
    content = {"msgtype": "m.file", "body": "secret", "file": file, "info": {"size": len(secret)}}
    file_id = await alice.send(room_id, TEXT, content)
    got = await bob.receive(nio.RoomEncryptedFile, lambda e: e.event_id == file_id)
    down = ok(await bob.client.download(got.url), nio.MemoryDownloadResponse)
    assert hashlib.sha256(down.body).digest() != hashlib.sha256(secret).digest()
    assert decrypt_attachment(down.body, got.key["k"], got.hashes["sha256"], got.iv) == secret


async def verification(make: Makers) -> None:
    """Two users verify their devices by emoji, from device to device."""
    alice, bob = [await make.register(name) for name in ("alice", "bob")]
    await room_of(alice, bob, encrypted=True)
    await known(bob, alice)
    devices = (alice, bob)
    bobs = alice.client.device_store[bob.user_id][bob.client.device_id]
    ok(await alice.client.start_key_verification(bobs), nio.ToDeviceResponse)
    start = await bob.receive(nio.KeyVerificationStart)
    transaction = start.transaction_id
    ok(await bob.client.accept_key_verification(transaction), nio.ToDeviceResponse)
    compared = []
    for device in devices:
        await device.receive(nio.KeyVerificationKey)
        compared.append(device.client.key_verifications[transaction].get_emoji())
    assert compared[0] == compared[1]
    assert len(compared[0]) == 7
    for device in devices:
        ok(await device.client.confirm_short_auth_string(transaction), nio.ToDeviceResponse)
    await trusted(alice, bob)
    await trusted(bob, alice)


async def everyday(make: Makers) -> None:
    """Typing, receipts, threads, to-device messages, presence, media, OpenID, logging out."""
    alice, bob = [await make.register(name) for name in ("alice", "bob")]
    room_id = await room_of(alice, bob)
    who = ok(await alice.client.whoami(), nio.WhoamiResponse)
    assert (who.user_id, who.device_id) == (alice.user_id, alice.client.device_id)

    root = await alice.say(room_id, "root")
    await bob.receive(nio.RoomMessageText, lambda e: e.event_id == root)
    ok(await bob.client.room_typing(room_id, typing_state=True), nio.RoomTypingResponse)
    await alice.receive(nio.TypingNoticeEvent, lambda e: bob.user_id in e.users)
    marked = await bob.client.room_read_markers(room_id, root, root)
    ok(marked, nio.RoomReadMarkersResponse)
    await alice.receive(
        nio.ReceiptEvent,
        lambda e: any((r.event_id, r.user_id) == (root, bob.user_id) for r in e.receipts),
    )

    relation = {"rel_type": "m.thread", "event_id": root}
    reply = await bob.say(room_id, "reply", **{"m.relates_to": relation})
    await alice.receive(nio.RoomMessageText, lambda e: e.event_id == reply)

    async def in_thread() -> None:
        kind = RelationshipType.thread
        related = alice.client.room_get_event_relations(room_id, root, kind)
        assert [event.event_id async for event in related] == [reply]
        threads = bob.client.room_get_threads(room_id)
        assert [event.event_id async for event in threads] == [root]

    await eventually(in_thread)

    content = {"word": secrets.token_hex(4)}
    message = nio.ToDeviceMessage("org.example.ping", bob.user_id, bob.client.device_id, content)
    ok(await alice.client.to_device(message), nio.ToDeviceResponse)
    heard = await bob.receive(nio.UnknownToDeviceEvent)
    assert heard.source["content"] == content
    ok(await alice.client.set_presence("online", "at work"), nio.PresenceSetResponse)
    await bob.receive(nio.PresenceEvent, lambda e: e.status_msg == "at work")

    image = secrets.token_bytes(50_000)
    uploaded, _ = await alice.client.upload(
        BytesIO(image), "application/octet-stream", "file.bin", filesize=len(image)
    )
    uri = ok(uploaded, nio.UploadResponse).content_uri
    down = ok(await bob.client.download(uri), nio.MemoryDownloadResponse)
    assert (down.body, down.filename) == (image, "file.bin")

    token = ok(await alice.client.get_openid_token(alice.user_id), nio.GetOpenIDTokenResponse)
    url = f"{HOMESERVER}/_matrix/federation/v1/openid/userinfo"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, params={"access_token": token.access_token}) as response,
    ):
        assert (response.status, await response.json()) == (200, {"sub": alice.user_id})

    phone = await make.log_in(alice)
    ok(await phone.client.logout(), nio.LogoutResponse)

    async def alone() -> None:
        assert len(ok(await alice.client.devices(), nio.DevicesResponse).devices) == 1

    await eventually(alone)


async def answer(make: Makers) -> None:
    """Print a new user's ID, and answer the first message of the encrypted room of its invite."""
    bot = await make.register("bot")
    await bot.until("keys on the server", lambda: bot.client.olm_account_shared)
    print(bot.user_id, flush=True)
    invited = bot.client.invited_rooms
    room_id = await bot.until("invite", lambda: next(iter(invited), None))
    ok(await bot.client.join(room_id), nio.JoinResponse)
    message = await bot.receive(nio.RoomMessageText)
    assert message.decrypted
    await bot.say(room_id, f"you said: {message.body}")


SCENARIOS: dict[str, Callable[[Makers], Awaitable[None]]] = {
    "encrypted-room": encrypted_room,
    "verification": verification,
    "everyday": everyday,
    "answer": answer,
}


async def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with AsyncExitStack() as stack:
            await SCENARIOS[name](Makers(stack, directory))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
