"""People who use mautrix's client, for the programs beside this one."""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from mautrix.api import HTTPAPI, Method, Path
from mautrix.client import Client
from mautrix.types import EventType, UserID

from waiting import WITHIN

T = TypeVar("T")
HOMESERVER = os.environ["HOMESERVER"]
EVENTS = (
    EventType.ROOM_MESSAGE,
    EventType.ROOM_MEMBER,
    EventType.ROOM_REDACTION,
    EventType.REACTION,
    EventType.TYPING,
    EventType.RECEIPT,
)


async def until(what: str, look: Callable[[], T | None]) -> T:
    """Wait until `look` returns something; `what` names it in the error."""
    deadline = time.monotonic() + WITHIN
    while not (found := look()):
        assert time.monotonic() < deadline, f"no {what}"
        await asyncio.sleep(0.05)
    return found


async def refused(error: type[Exception], attempt: Awaitable[Any]) -> None:
    """Check that an attempt fails with an error."""
    try:
        await attempt
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


class Person:
    """A user with a client that syncs."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.events: list[Any] = []
        for kind in EVENTS:
            client.add_event_handler(kind, self._receive)

    async def _receive(self, event: Any) -> None:
        self.events.append(event)

    async def receive(self, what: str, look: Callable[[Any], object]) -> Any:
        return await until(what, lambda: next(filter(look, self.events), None))


async def register(name: str) -> Any:
    body = {
        "username": name,
        "password": secrets.token_urlsafe(),
        "auth": {"type": "m.login.dummy"},
    }
    api = HTTPAPI(base_url=HOMESERVER)
    try:
        return await api.request(Method.POST, Path.v3.register, content=body)
    finally:
        await api.session.close()


@contextlib.asynccontextmanager
async def person(name: str) -> AsyncIterator[Person]:
    """Register NAME-SOMETHING and sync."""
    made = await register(f"{name}-{secrets.token_hex(4)}")
    client = Client(
        base_url=HOMESERVER,
        mxid=UserID(made["user_id"]),
        device_id=made["device_id"],
        token=made["access_token"],
    )
    found = Person(client)
    syncing = client.start(None)
    try:
        yield found
    finally:
        client.stop()
        await asyncio.gather(syncing, return_exceptions=True)
        await client.api.session.close()
