"""A plugin of maubot that answers commands with text and with files."""

from typing import Any

from maubot import Plugin
from maubot.handlers import command
from mautrix.types import FileInfo, MediaMessageEventContent, MessageType


class Echo(Plugin):
    @command.new("echo")
    @command.argument("text", pass_raw=True)
    async def echo(self, event: Any, text: str) -> None:
        """Answer in a reply, and show that the question was read."""
        await event.mark_read()
        await event.react("👀")
        await event.reply(text)

    @command.new("thread")
    async def thread(self, event: Any) -> None:
        """Answer in a thread."""
        await event.respond("here", in_thread=True)

    @command.new("file")
    @command.argument("text", pass_raw=True)
    async def file(self, event: Any, text: str) -> None:
        """Answer with a file that contains the text."""
        data = text.encode()
        url = await self.client.upload_media(data, "text/plain", "echo.txt", size=len(data))
        content = MediaMessageEventContent(
            msgtype=MessageType.FILE,
            body="echo.txt",
            url=url,
            info=FileInfo(mimetype="text/plain", size=len(data)),
        )
        await self.client.send_message(event.room_id, content)
