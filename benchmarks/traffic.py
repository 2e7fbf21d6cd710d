"""The requests that people send, as requests.lua reads them."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from benchmarks.population import Person
from tests.matrix import CLIENT

# Any order will do, but it must be the same in every run.
SEED = 4
MESSAGE = "Meet me at the usual place, and bring the other one."


def _whoami(person: Person) -> tuple[str, ...]:
    return "GET", f"{CLIENT}/account/whoami", person.token, "", ""


def _sync(person: Person) -> tuple[str, ...]:
    return "GET", f"{CLIENT}/sync?timeout=0&since={{since}}", person.token, person.since, ""


def _send(person: Person) -> tuple[str, ...]:
    path = f"{CLIENT}/rooms/{quote(person.room_id)}/send/m.room.message/{{n}}"
    return "PUT", path, person.token, "", json.dumps({"msgtype": "m.text", "body": MESSAGE})


def _messages(person: Person) -> tuple[str, ...]:
    path = f"{CLIENT}/rooms/{quote(person.room_id)}/messages?dir=b&limit=20"
    return "GET", path, person.token, "", ""


def _login(person: Person) -> tuple[str, ...]:
    """Log in on the same device each time: no real user has thousands of devices."""
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": person.user_id},
        "password": person.password,
        "device_id": "LOGIN",
    }
    return "POST", f"{CLIENT}/login", "", "", json.dumps(body)


KINDS: Mapping[str, Callable[[Person], tuple[str, ...]]] = {
    "whoami": _whoami,
    "sync": _sync,
    "send": _send,
    "messages": _messages,
    "login": _login,
}
# Clients sync all day and read as they scroll. To check a password takes as long as to handle some
# hundred syncs, and no layout makes it cheaper: with more logins nothing else would be measured.
MIXED = {"sync": 100, "send": 60, "messages": 30, "whoami": 9, "login": 1}
ENDPOINTS = (*KINDS, "mixed")


def lines(endpoint: str, people: Sequence[Person], clients: int) -> str:
    """The file of requests for one endpoint, or for all in the proportions of `MIXED`.

    Client K of `clients` takes the lines K, K + clients, … and speaks for the people K,
    K + clients, … alone.
    """
    if endpoint != "mixed":
        rows = [KINDS[endpoint](person) for person in people]
    else:
        rows = _mixed(people, clients)
    return "".join("\t".join(row) + "\n" for row in rows)


def lines_of(text: str) -> list[tuple[str, ...]]:
    """Return the requests of such a file."""
    return [tuple(line.split("\t")) for line in text.splitlines()]


def _mixed(people: Sequence[Person], clients: int) -> list[tuple[str, ...]]:
    order = random.Random(SEED)  # noqa: S311 - no secret comes of it
    columns = []
    for client in range(clients):
        own = people[client::clients] or people
        kinds = [kind for kind, weight in MIXED.items() for _ in range(weight) if weight > 1]
        order.shuffle(kinds)
        for rare in (kind for kind, weight in MIXED.items() if weight == 1):
            # At another place for each client, for they go about as fast: spread over the time.
            kinds.insert(client * sum(MIXED.values()) // clients, rare)
        columns.append([KINDS[kind](order.choice(own)) for kind in kinds])
    return [row for rank in zip(*columns, strict=True) for row in rank]
