"""The tests' requests to the homeserver: a few lines around `User.request`."""

import time
from typing import Any
from urllib.parse import quote

from pytest_ganglion import Refused, User

CLIENT = "/_matrix/client/v3"
# In seconds. Nothing here takes a second on an idle machine; a busy one is no failure.
WITHIN = 20.0


def make_room(user: User, *guests: User, public: bool = False) -> str:
    """Create a room, invite others, and return its ID."""
    wanted = {
        "preset": "public_chat" if public else "private_chat",
        "visibility": "public" if public else "private",
        "invite": [guest.user_id for guest in guests],
    }
    return str(user.request("POST", f"{CLIENT}/createRoom", wanted)["room_id"])


def join(user: User, room: str) -> None:
    """Join a room."""
    user.request("POST", f"{CLIENT}/join/{quote(room)}", {})


def say(user: User, room: str, text: str) -> None:
    """Send a message."""
    path = f"{CLIENT}/rooms/{quote(room)}/send/m.room.message/{time.monotonic_ns()}"
    user.request("PUT", path, {"msgtype": "m.text", "body": text})


def sync(user: User, since: str = "", wait: float = 0.0) -> Any:
    """Send one /sync, which waits at most `wait` seconds for events."""
    path = f"{CLIENT}/sync?timeout={int(wait * 1000)}"
    return user.request("GET", f"{path}&since={quote(since)}" if since else path)


def texts(answer: Any, room: str) -> list[str]:
    """Return the messages of a room in a response of /sync."""
    timeline = answer.get("rooms", {}).get("join", {}).get(room, {}).get("timeline", {})
    return [event["content"].get("body", "") for event in timeline.get("events", [])]


def hear(user: User, room: str, text: str) -> None:
    """Sync until a message arrives."""
    deadline, since = time.monotonic() + WITHIN, ""
    heard: list[str] = []
    while text not in heard:
        assert time.monotonic() < deadline, f"{user.user_id} heard only {heard}"
        try:
            answer = sync(user, since, 5.0 if since else 0.0)
        except Refused as refused:
            # As every client does: a test may have just killed the process.
            if refused.status not in (502, 503, 504):
                raise
            time.sleep(0.1)
            continue
        since = answer["next_batch"]
        heard += texts(answer, room)


def joined(user: User, room: str) -> set[str]:
    """Return the members of a room."""
    path = f"{CLIENT}/rooms/{quote(room)}/joined_members"
    return set(user.request("GET", path)["joined"])


def wait_for_member(user: User, room: str, member: str) -> None:
    """Wait until a user is a member of a room."""
    deadline = time.monotonic() + WITHIN
    while member not in joined(user, room):
        assert time.monotonic() < deadline, f"{member} does not join"
        time.sleep(0.05)
