"""maubot with the plugin `echo`: it registers its own account, and answers a person in a room.

It writes its files into the current directory.
"""

import asyncio
import os
import secrets
import sys
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
from mautrix.types import EventType
from ruamel.yaml import YAML

from people import HOMESERVER, Person, person, until
from waiting import eventually

PLUGIN = Path(__file__).parent / "echo"
ADMINISTRATOR = {"username": "root2", "password": secrets.token_urlsafe()}


def configure(directory: Path, port: int) -> None:
    """Write the configuration of maubot; it adds its own defaults."""
    config = {
        "database": f"sqlite:{directory / 'maubot.db'}",
        "plugin_directories": {
            "upload": str(directory / "plugins"),
            "load": [str(directory / "plugins")],
            "trash": "delete",
        },
        "plugin_databases": {"sqlite": str(directory / "plugins")},
        "server": {"hostname": "127.0.0.1", "port": port},
        "homeservers": {
            "localhost": {"url": HOMESERVER, "secret": os.environ["SHARED_SECRET"]},
        },
        "admins": {ADMINISTRATOR["username"]: ADMINISTRATOR["password"]},
    }
    (directory / "plugins").mkdir()
    with (directory / "config.yaml").open("w") as file:
        YAML().dump(config, file)


def plugin() -> bytes:
    """Return the plugin as maubot takes it: a zip file."""
    path = Path("echo.mbp")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("maubot.yaml", "echo.py"):
            archive.write(PLUGIN / name, name)
    return path.read_bytes()


class Management:
    """maubot's own API."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.url = f"http://127.0.0.1:{port}/_matrix/maubot/v1"

    async def answers(self) -> None:
        """Fail while it does not listen yet."""
        try:
            await self.call("POST", "auth/login", json=ADMINISTRATOR)
        except aiohttp.ClientConnectionError as error:
            raise AssertionError(str(error)) from None

    async def call(self, method: str, path: str, **request: Any) -> Any:
        async with self.session.request(method, f"{self.url}/{path}", **request) as response:
            answer = await response.json()
            assert response.ok, f"{method} {path}: {response.status} {answer}"
            return answer


async def set_up(maubot: Management) -> str:
    """Have maubot register an account, and run the plugin there. Returns the user ID."""
    await eventually(maubot.answers)
    token = (await maubot.call("POST", "auth/login", json=ADMINISTRATOR))["token"]
    maubot.session.headers["Authorization"] = f"Bearer {token}"
    account = {"username": f"echo-{secrets.token_hex(4)}", "password": secrets.token_urlsafe()}
    made = await maubot.call(
        "POST", "client/auth/localhost/register?update_client=true", json=account
    )
    uploaded = await maubot.call("POST", "plugins/upload", data=plugin())
    instance = {
        "type": uploaded["id"],
        "primary_user": made["id"],
        "enabled": True,
        "started": True,
    }
    assert (await maubot.call("PUT", "instance/echo", json=instance))["started"]
    # A password login of the same account, as its own command line does it.
    again = await maubot.call("POST", "client/auth/localhost/login", json=account)
    assert again["user_id"] == made["id"]
    return str(made["id"])


async def talk(human: Person, bot: str) -> None:
    """Invite the bot, which joins by itself, and give it each command."""
    room_id = await human.client.create_room(invitees=[bot])

    async def answer(command: str) -> tuple[str, Any]:
        """Send a command; return its ID and the next message of the bot."""
        before = len(human.events)
        sent = await human.client.send_text(room_id, command)
        found = await until(
            f"answer to {command}",
            lambda: next(
                (
                    event
                    for event in human.events[before:]
                    if event.type == EventType.ROOM_MESSAGE and event.sender == bot
                ),
                None,
            ),
        )
        return sent, found.content

    await human.receive(
        "membership of the bot",
        lambda e: (
            e.type == EventType.ROOM_MEMBER
            and e.state_key == bot
            and e.content.membership.value == "join"
        ),
    )
    sent, content = await answer("!echo are you there?")
    assert content.body.endswith("are you there?")
    assert content.get_reply_to() == sent
    await human.receive(
        "reaction", lambda e: e.type == EventType.REACTION and e.content.relates_to.event_id == sent
    )
    await human.receive(
        "receipt of the bot",
        lambda e: e.type == EventType.RECEIPT and any(bot in each for each in users(e, sent)),
    )
    sent, content = await answer("!thread")
    assert (content.body, content.get_thread_parent()) == ("here", sent)
    text = secrets.token_hex(1000)
    _, content = await answer(f"!file {text}")
    assert await human.client.download_media(content.url) == text.encode()


def users(receipt: Any, event_id: str) -> list[Any]:
    """Return the users of each kind of receipt for an event."""
    return list(receipt.content.get(event_id, {}).values())


async def main(port: int) -> None:
    configure(Path.cwd(), port)
    command = (sys.executable, "-m", "maubot", "-c", "config.yaml")
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with aiohttp.ClientSession() as session, person("human") as human:
            await talk(human, await set_up(Management(session, port)))
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main(int(os.environ["MAUBOT_PORT"])))
