"""All that Matrix clients do with a homeserver, in one flow.

It needs open registration, the shared secret, the administrators' API, and what
tests.harness.OPERATOR_FILE allows.
"""

from dataclasses import dataclass
from urllib.parse import quote

from nio import MemoryDownloadResponse

from tests import account_flows, room_flows
from tests.matrix import CLIENT, Clients, eventually, ok


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Data that must still be there after a restart."""

    user_id: str
    password: str
    access_token: str
    room_id: str
    event_id: str
    text: str
    media: str
    content: bytes


async def whole_flow(base_url: str, shared_secret: str) -> Kept:
    """Do everything. Returns the data that a later start of the same server must have."""
    async with Clients(base_url) as clients:
        talk = await room_flows.converse(clients, shared_secret)
        admin = await clients.register_with_secret("admin", shared_secret, admin=True)
        event_id, text = await room_flows.send(talk)
        await eventually(lambda: room_flows.read(talk, event_id))
        await room_flows.state_and_redaction(talk)
        await room_flows.typing(talk)
        await room_flows.receipts(talk, event_id)
        await room_flows.presence(talk)
        await room_flows.profile_and_directory(talk)
        media, content = await account_flows.upload_and_download(talk)
        await account_flows.quarantine(talk, admin)
        await account_flows.to_device(talk)
        await account_flows.account_data(talk)
        await account_flows.push_rules(talk)
        await account_flows.keys(talk)
        await account_flows.devices(talk)
        await account_flows.thread_subscription(talk, event_id)
        await account_flows.sliding_sync(talk)
        await account_flows.log_out(talk)
        return Kept(
            user_id=talk.bob.user_id,
            password=talk.bob.password,
            access_token=talk.bob.nio.access_token,
            room_id=talk.room_id,
            event_id=event_id,
            text=text,
            media=media,
            content=content,
        )


async def still_there(base_url: str, kept: Kept) -> None:
    """Use the data of before a restart: token, password, room, message and media."""
    async with Clients(base_url) as clients:
        old = clients.resume(kept.user_id, kept.access_token)
        new = await clients.login(kept.user_id, kept.password)
        for session in (old, new):
            path = f"{CLIENT}/rooms/{quote(kept.room_id)}/event/{quote(kept.event_id)}"
            assert (await session.call("GET", path))["content"]["body"] == kept.text
            down = ok(await session.nio.download(kept.media), MemoryDownloadResponse)
            assert down.body == kept.content
        event_id = await room_flows.say(new, kept.room_id, "back again")
        await room_flows.hear(old, kept.room_id, event_id, "back again")
