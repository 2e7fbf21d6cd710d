"""What two homeservers do with each other."""

from nio import JoinResponse, MemoryDownloadResponse, RoomCreateResponse, RoomInviteResponse

from tests.account_flows import upload
from tests.matrix import Clients, Session, ok
from tests.room_flows import ROOM_VERSION, hear, say

# The first contact of two homeservers fetches keys and profiles both ways.
WITHIN = 30.0


async def converse(alpha: str, beta: str) -> None:
    """Invite, join, write and download between the homeservers at two URLs."""
    async with Clients(alpha) as ours, Clients(beta) as theirs:
        alice, bob = await ours.register("alice"), await theirs.register("bob")
        created = await alice.nio.room_create(room_version=ROOM_VERSION)
        room_id = str(ok(created, RoomCreateResponse).room_id)
        await bob.sync()
        ok(await alice.nio.room_invite(room_id, bob.user_id), RoomInviteResponse)
        await bob.until(
            "invite",
            lambda answer: answer.get("rooms", {}).get("invite", {}).get(room_id),
            WITHIN,
        )
        ok(await bob.nio.join(room_id), JoinResponse)
        await tell(alice, bob, room_id)
        await tell(bob, alice, room_id)
        uri, content = await upload(alice)
        download = ok(await bob.nio.download(uri), MemoryDownloadResponse)
        assert download.body == content


async def tell(one: Session, other: Session, room_id: str) -> None:
    text = f"from {one.user_id}"
    event_id = await say(one, room_id, text)
    await hear(other, room_id, event_id, text, WITHIN)
