"""Homeservers that find each other by name, and conversations of their users."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nio import (
    JoinResponse,
    MemoryDownloadResponse,
    RoomCreateResponse,
    RoomInviteResponse,
    RoomPreset,
)

from tests.account_flows import upload
from tests.certificates import Authority
from tests.harness import Server
from tests.matrix import CLIENT, Clients, Json, Session, events, ok, timeline
from tests.room_flows import ROOM_VERSION, hear, say

# In seconds. The first contact of two homeservers fetches keys and profiles both ways.
WITHIN = 120.0

OPERATOR_FILE = """\
federation_custom_ca_list: [{authority}]
ip_range_blacklist: []
federation_ip_range_blacklist: []
"""


def trust(authority: str) -> str:
    """Options of Synapse's that make a homeserver trust an authority, by the path of its
    certificate, and talk to others on this machine.
    """
    return OPERATOR_FILE.format(authority=authority)


def federating(server: Server, host: str, authority: Authority) -> Server:
    """Name a server after its host and port, where others find it without delegation.

    `host` is localhost or 127.0.0.1, which the authority's certificates are for.
    """
    certificate, key = authority.issue(server.root)
    trusted = server.root / "authority.pem"
    trusted.write_bytes(authority.path.read_bytes())
    Path(server.data, "homeserver.d", "50-federation.yaml").write_text(trust(str(trusted)))
    server.environment |= {
        "SYNAPSE_SERVER_NAME": f"{host}:{server.federation_port}",
        "SYNAPSE_TLS_CERT": str(certificate),
        "SYNAPSE_TLS_KEY": str(key),
    }
    return server


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
    await hear(other, room_id, event_id, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conference:
    """How long it took, in seconds, until a user of each server was in one room and each server
    knew, and then until each user had the message of each.
    """

    joined: float
    heard: float


async def confer(urls: Sequence[str], within: float) -> Conference:
    """Have one user of each server, by their base URLs, talk in a room of the first's.

    `within` is in seconds, for each of the two parts. Raises AssertionError or TimeoutError where
    it takes longer.
    """
    async with AsyncExitStack() as stack:
        people = []
        for url in urls:
            clients = await stack.enter_async_context(Clients(url))
            people.append(await clients.register("delegate"))
        host, *guests = people
        made = await host.nio.room_create(room_version=ROOM_VERSION, preset=RoomPreset.public_chat)
        room_id = str(ok(made, RoomCreateResponse).room_id)
        everybody = {person.user_id for person in people}
        listeners = [Listener(person, room_id) for person in people]

        began = time.monotonic()
        # One after the other: a server that joins while others do may receive a membership
        # before it has the room's state, and asks for what it lacks only later.
        for guest in guests:
            await join(guest, room_id, host.user_id)
        await all_of(
            (listener.until(lambda seen: everybody <= seen.members) for listener in listeners),
            within,
        )
        joined = time.monotonic() - began

        began = time.monotonic()
        texts = {f"from {person.user_id}" for person in people}
        await all_of((say(p, room_id, f"from {p.user_id}") for p in people), within)
        await all_of(
            (listener.until(lambda seen: texts <= seen.texts) for listener in listeners), within
        )
        return Conference(joined=joined, heard=time.monotonic() - began)


async def join(guest: Session, room_id: str, host: str) -> None:
    """Join a room through the server of a member."""
    via = quote(host.partition(":")[2])
    await guest.call("POST", f"{CLIENT}/join/{quote(room_id)}?server_name={via}", {})


async def all_of(what: Iterable[Awaitable[object]], within: float) -> None:
    """Await all at once, for at most `within` seconds."""
    async with asyncio.timeout(within):
        await asyncio.gather(*what)


class Listener:
    """The members and messages of a room that a user's syncs have brought."""

    def __init__(self, session: Session, room_id: str) -> None:
        self.session = session
        self.room_id = room_id
        self.members: set[str] = set()
        self.texts: set[str] = set()

    async def until(self, enough: Callable[["Listener"], bool]) -> None:
        """Sync until `enough` is true."""
        while not enough(self):
            self.note(await self.session.sync(wait=5.0))

    def note(self, answer: Json) -> None:
        """Add a response of /sync."""
        state = (*timeline(self.room_id)[:-1], "state")
        for event in [*events(answer, *state), *events(answer, *timeline(self.room_id))]:
            content = event["content"]
            if event["type"] == "m.room.member" and content["membership"] == "join":
                self.members.add(event["state_key"])
            elif event["type"] == "m.room.message":
                self.texts.add(content["body"])
