"""Actions of two users in a room, each checked by the other user."""

import secrets
from urllib.parse import quote

from nio import (
    JoinResponse,
    PresenceSetResponse,
    ProfileSetDisplayNameResponse,
    RoomCreateResponse,
    RoomInviteResponse,
    RoomMessagesResponse,
    RoomPutStateResponse,
    RoomReadMarkersResponse,
    RoomRedactResponse,
    RoomSendResponse,
    RoomTypingResponse,
    UpdateReceiptMarkerResponse,
)

from tests.matrix import (
    CLIENT,
    Clients,
    Conversation,
    Session,
    ephemeral,
    event,
    eventually,
    ok,
    timeline,
)

# Room IDs of this version have no server name, which a route may fail to match.
ROOM_VERSION = "12"


async def converse(
    clients: Clients, shared_secret: str, room_version: str = ROOM_VERSION
) -> Conversation:
    """Register and log in, then create a room, invite and join."""
    alice = await clients.register("alice")
    bob = await clients.register_with_secret("bob", shared_secret)
    alice_phone = await clients.login(alice.user_id, alice.password)
    assert alice_phone.device_id != alice.device_id
    await bob.sync()

    created = await alice.nio.room_create(name="a talk", room_version=room_version)
    room_id = str(ok(created, RoomCreateResponse).room_id)
    ok(await alice.nio.room_invite(room_id, bob.user_id), RoomInviteResponse)
    await bob.until("invite", lambda answer: answer.get("rooms", {}).get("invite", {}).get(room_id))
    ok(await bob.nio.join(room_id), JoinResponse)
    await alice.until(
        "join",
        event(
            timeline(room_id),
            lambda e: (
                e["type"] == "m.room.member"
                and e["state_key"] == bob.user_id
                and e["content"]["membership"] == "join"
            ),
        ),
    )
    talk = Conversation(alice=alice, alice_phone=alice_phone, bob=bob, room_id=room_id)
    # Every sync after this one is incremental.
    for session in (alice, alice_phone, bob):
        await session.sync()
    return talk


async def send(talk: Conversation) -> tuple[str, str]:
    """Send a message, and wait for it in the other user's incremental sync. Returns ID and text."""
    text = f"hello {secrets.token_hex(4)}"
    event_id = await say(talk.alice, talk.room_id, text)
    await hear(talk.bob, talk.room_id, event_id, text)
    return event_id, text


async def say(session: Session, room_id: str, text: str) -> str:
    """Send a text message. Returns its event ID."""
    content = {"msgtype": "m.text", "body": text}
    sent = await session.nio.room_send(room_id, "m.room.message", content)
    return str(ok(sent, RoomSendResponse).event_id)


async def hear(session: Session, room_id: str, event_id: str, text: str) -> None:
    """Wait until a session has received a message."""
    await session.until(
        "message",
        event(
            timeline(room_id),
            lambda e: e["event_id"] == event_id and e["content"]["body"] == text,
        ),
    )


async def read(talk: Conversation, event_id: str) -> None:
    """Read all there is about a room and about oneself."""
    bob, room = talk.bob, f"{CLIENT}/rooms/{quote(talk.room_id)}"
    back = ok(await bob.nio.room_messages(talk.room_id, limit=5), RoomMessagesResponse)
    assert event_id in {e.event_id for e in back.chunk}
    assert (await bob.call("GET", f"{room}/event/{quote(event_id)}"))["event_id"] == event_id
    around = await bob.call("GET", f"{room}/context/{quote(event_id)}")
    assert around["event"]["event_id"] == event_id
    both = {talk.alice.user_id, bob.user_id}
    assert set((await bob.call("GET", f"{room}/joined_members"))["joined"]) == both
    members = await bob.call("GET", f"{room}/members")
    assert {e["state_key"] for e in members["chunk"]} == both
    assert talk.room_id in (await bob.call("GET", f"{CLIENT}/joined_rooms"))["joined_rooms"]
    assert (await bob.call("GET", f"{CLIENT}/account/whoami"))["user_id"] == bob.user_id
    devices = (await talk.alice.call("GET", f"{CLIENT}/devices"))["devices"]
    assert len(devices) == 2
    assert "capabilities" in await bob.call("GET", f"{CLIENT}/capabilities")
    assert (await bob.call("GET", "/_matrix/client/versions", authenticated=False))["versions"]
    assert "chunk" in await bob.call("GET", f"{CLIENT}/publicRooms")


async def state_and_redaction(talk: Conversation) -> None:
    """Set state and redact a message; both reach the other user."""
    topic = {"topic": secrets.token_hex(4)}
    put = await talk.alice.nio.room_put_state(talk.room_id, "m.room.topic", topic)
    topic_id = ok(put, RoomPutStateResponse).event_id
    await talk.bob.until(
        "topic", event(timeline(talk.room_id), lambda e: e["event_id"] == topic_id)
    )
    path = f"{CLIENT}/rooms/{quote(talk.room_id)}/state/m.room.topic"

    async def topic_is_set() -> None:
        assert await talk.bob.call("GET", path) == topic

    await eventually(topic_is_set)

    event_id = await say(talk.alice, talk.room_id, "a mistake")
    ok(await talk.alice.nio.room_redact(talk.room_id, event_id), RoomRedactResponse)
    await talk.bob.until(
        "redaction",
        event(
            timeline(talk.room_id),
            lambda e: (
                e["type"] == "m.room.redaction"
                and event_id in (e.get("redacts"), e["content"].get("redacts"))
            ),
        ),
    )


async def typing(talk: Conversation) -> None:
    """Start and stop typing; the other user's sync shows both."""
    for users in ([talk.alice.user_id], []):
        typed = await talk.alice.nio.room_typing(talk.room_id, typing_state=bool(users))
        ok(typed, RoomTypingResponse)
        await talk.bob.until(
            f"typing of {users}",
            event(
                ephemeral(talk.room_id),
                lambda e, users=users: (  # type: ignore[misc]
                    e["type"] == "m.typing" and e["content"]["user_ids"] == users
                ),
            ),
        )


async def receipts(talk: Conversation, event_id: str) -> None:
    """Send a read receipt to the other user, and a read marker to the user's own sync."""
    bob = talk.bob
    ok(
        await bob.nio.update_receipt_marker(talk.room_id, event_id),
        UpdateReceiptMarkerResponse,
    )
    await talk.alice.until(
        "receipt",
        event(
            ephemeral(talk.room_id),
            lambda e: (
                e["type"] == "m.receipt"
                and bob.user_id in e["content"].get(event_id, {}).get("m.read", {})
            ),
        ),
    )
    ok(await bob.nio.room_read_markers(talk.room_id, event_id), RoomReadMarkersResponse)
    await bob.until(
        "read marker",
        event(
            ("rooms", "join", talk.room_id, "account_data"),
            lambda e: e["type"] == "m.fully_read" and e["content"]["event_id"] == event_id,
        ),
    )


async def presence(talk: Conversation) -> None:
    """Set a status message; the other user receives it, and can query it."""
    status, alice = f"away {secrets.token_hex(3)}", talk.alice.user_id
    ok(await talk.alice.nio.set_presence("unavailable", status), PresenceSetResponse)
    await talk.bob.until(
        "presence",
        event(
            ("presence",),
            lambda e: e["sender"] == alice and e["content"].get("status_msg") == status,
        ),
    )
    asked = await talk.bob.call("GET", f"{CLIENT}/presence/{quote(alice)}/status")
    assert asked["status_msg"] == status


async def profile_and_directory(talk: Conversation) -> None:
    """Set a display name; it shows in the room and in the user directory."""
    name, bob = f"Robert {secrets.token_hex(4)}", talk.bob.user_id
    ok(await talk.bob.nio.set_displayname(name), ProfileSetDisplayNameResponse)
    await talk.alice.until(
        "display name",
        event(
            timeline(talk.room_id),
            lambda e: e["type"] == "m.room.member" and e["content"].get("displayname") == name,
        ),
    )

    async def profile() -> None:
        answer = await talk.alice.call("GET", f"{CLIENT}/profile/{quote(bob)}/displayname")
        assert answer == {"displayname": name}

    await eventually(profile)

    async def search() -> None:
        wanted = {"search_term": name, "limit": 5}
        answer = await talk.alice.call("POST", f"{CLIENT}/user_directory/search", wanted)
        assert bob in {user["user_id"] for user in answer["results"]}

    await eventually(search)
