"""A bridge of mautrix as application service, with ghost users and a person who meets them.

The server knows it by a registration, with the port and tokens of the environment.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mautrix.appservice import AppService
from mautrix.client import Client
from mautrix.errors import MExclusive, MNotFound
from mautrix.types import (
    EventType,
    LoginType,
    Membership,
    MessageType,
    PresenceState,
    RoomCreatePreset,
    TextMessageEventContent,
    UserID,
)

from people import HOMESERVER, Person, person, refused, register, until
from waiting import eventually

DOMAIN = "localhost"


class Bridge:
    """The application service, the events sent to it, and the names that it was asked for."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.queried: list[str] = []
        self.service = AppService(
            server=HOMESERVER,
            domain=DOMAIN,
            as_token=os.environ["AS_TOKEN"],
            hs_token=os.environ["HS_TOKEN"],
            bot_localpart="bridgebot",
            id="bridge",
            query_user=self._query_user,
            query_alias=self._query_alias,
            ephemeral_events=True,
        )
        self.service.matrix_event_handler(self._receive)

    async def _receive(self, event: Any) -> None:
        self.events.append(event)

    async def _query_user(self, user_id: str) -> dict[str, Any] | None:
        """Make a ghost when the server asks whether it exists."""
        self.queried.append(user_id)
        await self.ghost(user_id).ensure_registered()
        return {"made": True}

    async def _query_alias(self, alias: str) -> dict[str, Any] | None:
        """Make a portal when somebody joins its alias."""
        self.queried.append(alias)
        if alias.startswith("#portal_nowhere"):
            return None
        await self.service.intent.create_room(
            alias_localpart=alias[1:].partition(":")[0], preset=RoomCreatePreset.PUBLIC
        )
        return {"made": True}

    def ghost(self, user_id: str) -> Any:
        return self.service.intent.user(UserID(user_id))

    async def receive(self, what: str, look: Callable[[Any], object]) -> Any:
        """Wait for an event in a transaction."""
        return await until(what, lambda: next(filter(look, self.events), None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """A room of a person and a ghost, with a message of each. `mark` is part of all names."""

    mark: str
    bridge: Bridge
    human: Person
    ghost: Any
    room_id: str
    said: str
    answer: str


async def open_portal(bridge: Bridge, human: Person, mark: str) -> Portal:
    """Ping, then have a ghost speak in a room of the bridge, and a person answer."""
    bot, me = bridge.service.intent, human.client
    ghost_id = UserID(f"@ghost_{mark}:{DOMAIN}")
    ghost = bridge.ghost(ghost_id)
    # The server reaches the bridge.
    assert await bridge.service.ping_self(f"ping-{mark}") >= 0
    await bot.ensure_registered()
    await ghost.set_displayname(f"Ghost {mark}")

    async def named() -> None:
        assert await me.get_displayname(ghost_id) == f"Ghost {mark}"

    await eventually(named)
    # Names of the bridge are its own.
    await refused(MExclusive, register(f"ghost_taken-{mark}"))

    room_id = await bot.create_room(invitees=[me.mxid], name=f"Portal {mark}")
    await human.receive("invite", lambda e: e.room_id == room_id and e.state_key == me.mxid)
    await me.join_room(room_id, max_retries=0)
    await ghost.ensure_joined(room_id)

    async def together() -> None:
        assert set(await me.get_joined_members(room_id)) == {bot.mxid, ghost_id, me.mxid}

    await eventually(together)
    yesterday = int((time.time() - 86400) * 1000)
    content = TextMessageEventContent(msgtype=MessageType.TEXT, body="boo")
    said = await ghost.send_message_event(
        room_id, EventType.ROOM_MESSAGE, content, timestamp=yesterday
    )
    heard = await human.receive("message of the ghost", lambda e: event_id(e) == said)
    assert (heard.sender, heard.content.body, heard.timestamp) == (ghost_id, "boo", yesterday)
    answer = await me.send_text(room_id, "who is there?")
    passed_on = await bridge.receive("transaction", lambda e: event_id(e) == answer)
    assert passed_on.content.body == "who is there?"
    return Portal(
        mark=mark,
        bridge=bridge,
        human=human,
        ghost=ghost,
        room_id=room_id,
        said=said,
        answer=answer,
    )


async def ephemeral_events(portal: Portal) -> None:
    """Typing and receipts reach the other side, in both directions."""
    human, ghost, room_id = portal.human, portal.ghost, portal.room_id
    me = human.client

    def types(user_id: str) -> Callable[[Any], bool]:
        return lambda e: e.type == EventType.TYPING and user_id in e.content.user_ids

    def reads(event: str) -> Callable[[Any], bool]:
        return lambda e: e.type == EventType.RECEIPT and event in e.content

    await me.set_typing(room_id, timeout=60_000)
    await portal.bridge.receive("typing of the human", types(me.mxid))
    await me.send_receipt(room_id, portal.said)
    await portal.bridge.receive("receipt of the human", reads(portal.said))
    await ghost.set_typing(room_id, timeout=60_000)
    await human.receive("typing of the ghost", types(ghost.mxid))
    await ghost.mark_read(room_id, portal.answer)
    await human.receive("receipt of the ghost", reads(portal.answer))
    await ghost.set_presence(PresenceState.ONLINE, status="haunting", ignore_cache=True)

    async def haunting() -> None:
        assert (await me.get_presence(ghost.mxid)).status_msg == "haunting"

    await eventually(haunting)


async def work_of_a_ghost(portal: Portal) -> None:
    """Media, a reaction, a redaction, and a login on a device of the ghost's own."""
    human, ghost, room_id = portal.human, portal.ghost, portal.room_id
    data = secrets.token_bytes(50_000)
    uri = await ghost.upload_media(data, mime_type="application/octet-stream", filename="boo.bin")
    assert await human.client.download_media(uri) == data
    reaction = await ghost.react(room_id, portal.answer, "👻")
    await human.receive("reaction", lambda e: event_id(e) == reaction)
    await ghost.redact(room_id, portal.said, reason="dawn")
    await human.receive("redaction", lambda e: getattr(e, "redacts", None) == portal.said)

    device = Client(base_url=HOMESERVER)
    device.api.token = os.environ["AS_TOKEN"]
    logged_in = await device.login(
        identifier=ghost.mxid, login_type=LoginType.APPSERVICE, device_name="ghost"
    )
    who = await device.whoami()
    assert (logged_in.user_id, who.device_id) == (ghost.mxid, logged_in.device_id)
    await device.api.session.close()


async def questions(portal: Portal) -> None:
    """The server asks the bridge for ghosts and portals that it does not know yet."""
    bridge, me, mark = portal.bridge, portal.human.client, portal.mark
    late = UserID(f"@ghost_late-{mark}:{DOMAIN}")
    await me.invite_user(portal.room_id, late)
    await until("question for the ghost", lambda: late in bridge.queried)
    await bridge.receive(
        "invite of the ghost",
        lambda e: (
            e.type == EventType.ROOM_MEMBER
            and e.state_key == late
            and e.content.membership == Membership.INVITE
        ),
    )
    await bridge.ghost(late).join_room(portal.room_id)
    alias = f"#portal_{mark}:{DOMAIN}"
    room_id = await me.join_room(alias, max_retries=0)
    assert alias in bridge.queried

    async def found() -> None:
        assert (await me.resolve_room_alias(alias)).room_id == room_id

    await eventually(found)
    nowhere = f"#portal_nowhere-{mark}:{DOMAIN}"
    await refused(MNotFound, me.join_room(nowhere, max_retries=0))
    assert nowhere in bridge.queried


def event_id(event: Any) -> object:
    return getattr(event, "event_id", None)


async def main() -> None:
    bridge = Bridge()
    await bridge.service.start("127.0.0.1", int(os.environ["BRIDGE_PORT"]))
    try:
        async with person("human") as human:
            portal = await open_portal(bridge, human, secrets.token_hex(4))
            await ephemeral_events(portal)
            await work_of_a_ghost(portal)
            await questions(portal)
    finally:
        await bridge.service.stop()


if __name__ == "__main__":
    asyncio.run(main())
