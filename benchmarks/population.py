"""Users in rooms with a past, made through the API."""

from dataclasses import dataclass, replace
from urllib.parse import quote

from tests.matrix import CLIENT, Clients, Session

MEMBERS = 4
PAST = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user, the access token of one device, a room to write in, and how far it has synced."""

    user_id: str
    password: str
    token: str
    room_id: str
    since: str = ""


async def settle(base_url: str, secret: str | None, users: int, rooms: int) -> list[Person]:
    """Register users, and let each room have members and messages to read.

    They register with a shared secret, or without one where registration is open.

    Raises tests.matrix.Refused where the server does not do as it is asked.
    """
    async with Clients(base_url) as clients:
        people = [
            await clients.register(f"user{n}")
            if secret is None
            else await clients.register_with_secret(f"user{n}", secret)
            for n in range(users)
        ]
        room_ids = [await _room(people, number, rooms) for number in range(rooms)]
        return [
            Person(
                user_id=person.user_id,
                password=person.password,
                token=person.nio.access_token,
                room_id=room_ids[number % rooms],
            )
            for number, person in enumerate(people)
        ]


async def _room(people: list[Session], number: int, rooms: int) -> str:
    """A public room of those who write there, and of others until there are enough."""
    near = people[number:] + people[:number]
    owner, *others = list(dict.fromkeys([*people[number::rooms], *near[:MEMBERS]]))
    made = await owner.call("POST", f"{CLIENT}/createRoom", {"preset": "public_chat"})
    room_id = str(made["room_id"])
    for person in others:
        await person.call("POST", f"{CLIENT}/join/{quote(room_id)}", {})
    for n in range(PAST):
        path = f"{CLIENT}/rooms/{quote(room_id)}/send/m.room.message/past-{n}"
        await owner.call("PUT", path, {"msgtype": "m.text", "body": f"message {n}"})
    return room_id


async def synced(base_url: str, people: list[Person]) -> list[Person]:
    """The same people when each has just synced."""
    async with Clients(base_url) as clients:
        return [
            replace(person, since=str(answer["next_batch"]))
            for person in people
            for answer in [
                await clients.resume(person.user_id, person.token).call(
                    "GET", f"{CLIENT}/sync?timeout=0"
                )
            ]
        ]
