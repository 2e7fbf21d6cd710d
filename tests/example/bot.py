"""A bot that counts: it accepts invitations, and answers "!count some words".

The environment has its account: BOT_URL, BOT_USER, BOT_DEVICE, BOT_TOKEN.
"""

import asyncio
import os

from nio import AsyncClient, InviteMemberEvent, MatrixRoom, RoomMessageText


async def main() -> None:
    """Listen until the process ends."""
    client = AsyncClient(os.environ["BOT_URL"])
    client.restore_login(os.environ["BOT_USER"], os.environ["BOT_DEVICE"], os.environ["BOT_TOKEN"])

    async def on_invite(room: MatrixRoom, event: InviteMemberEvent) -> None:
        if event.membership == "invite" and event.state_key == client.user_id:
            await client.join(room.room_id)

    async def on_message(room: MatrixRoom, event: RoomMessageText) -> None:
        command, *words = event.body.split()
        if command == "!count":
            content = {"msgtype": "m.notice", "body": f"{len(words)} words"}
            await client.room_send(room.room_id, "m.room.message", content)

    client.add_event_callback(on_invite, InviteMemberEvent)
    client.add_event_callback(on_message, RoomMessageText)
    await client.sync_forever(timeout=30_000)


if __name__ == "__main__":
    asyncio.run(main())
