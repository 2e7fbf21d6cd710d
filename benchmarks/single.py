"""Requests of one client that asks one thing at a time, each with its preparation."""

import http.client
import json
import secrets
import time
import urllib.parse
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from tests.matrix import CLIENT, Json

# In seconds. Longer than a server that works takes for anything.
WITHIN = 60.0
# In seconds. nginx closes a connection that was idle for 75.
IDLE_AT_MOST = 30.0
# In seconds, from sending a long poll until it surely waits at the server.
UNTIL_IT_WAITS = 0.05
LONG_POLL = 20_000
# Bytes of an upload.
SIZE = 100_000
ROOMS = 12
PASSWORD = "of a benchmark"  # noqa: S105 - for everybody to know
SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"

# Makes the request that was prepared. Returns the seconds that it took.
Act = Callable[[], float]


class Device:
    """A user's device, with one connection to its server."""

    def __init__(self, base_url: str, name: str) -> None:
        """Register a user called NAME-SOMETHING."""
        host = urllib.parse.urlsplit(base_url).netloc
        self._connection = http.client.HTTPConnection(host, timeout=WITHIN)
        self._used = 0.0
        self._token = ""
        self.name = f"{name}-{secrets.token_hex(4)}"
        made = self.ask("POST", "/register", _registration(self.name))
        self.user_id: str = made["user_id"]
        self.device_id: str = made["device_id"]
        self._token = made["access_token"]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(
        self, method: str, path: str, body: Mapping[str, object] | bytes | None = None
    ) -> bytes:
        """Send a request and return the body of its response, which must be a success.

        `path` is below the client API of version 3, unless it starts with /_matrix.
        """
        headers = {"Authorization": f"Bearer {self._token}"}
        if not self._token or path in ("/login", "/register"):
            headers = {}
        if body is not None:
            kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
            headers["Content-Type"] = kind
        content = json.dumps(body) if isinstance(body, Mapping) else body
        where = path if path.startswith("/_matrix") else CLIENT + path
        self._connection.request(method, where, content, headers)
        response = self._connection.getresponse()
        text = response.read()
        assert response.status == 200, (method, where, response.status, text)
        self._used = time.monotonic()
        return text

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        """Send a request and return its response, decoded."""
        answer: Json = json.loads(self.call(method, path, body))
        return answer

    def later(
        self, method: str, path: str, body: Mapping[str, object] | bytes | None = None
    ) -> Act:
        """Return the request to be made and timed. The connection is open by then."""
        if time.monotonic() - self._used > IDLE_AT_MOST:
            self._connection.close()
            self.call("GET", "/_matrix/client/versions")

        def act() -> float:
            began = time.monotonic()
            self.call(method, path, body)
            return time.monotonic() - began

        return act

    def room(self, **options: object) -> str:
        """Create a public room. Returns its ID."""
        created = self.ask("POST", "/createRoom", {"preset": "public_chat", **options})
        return str(created["room_id"])

    def send(self, room_id: str, text: str) -> str:
        """Send a message. Returns its event ID."""
        sent = self.ask("PUT", _message_path(room_id, text), _message(text))
        return str(sent["event_id"])

    def since(self) -> str:
        """Return the position of /sync now."""
        return str(self.ask("GET", "/sync?timeout=0")["next_batch"])

    def hear(self, since: str, room_id: str, text: str) -> float:
        """Sync until a room has a message. Returns the time then, of the monotonic clock."""
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            answer = self.ask("GET", f"/sync?since={since}&timeout={LONG_POLL}")
            seen = time.monotonic()
            room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
            for event in room.get("timeline", {}).get("events", ()):
                if event["content"].get("body") == text:
                    return seen
            since = answer["next_batch"]
        raise AssertionError(f"{self.user_id} heard nothing of {text!r} in {WITHIN:.0f} s")


def _registration(name: str) -> dict[str, object]:
    return {"auth": {"type": "m.login.dummy"}, "username": name, "password": PASSWORD}


def _message(text: str) -> dict[str, object]:
    return {"msgtype": "m.text", "body": text}


def _message_path(room_id: str, text: str) -> str:
    return f"/rooms/{quote(room_id)}/send/m.room.message/{quote(text)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The users of one server, and one of another server if that finds this one.

    The host is in many rooms, the guest joins them, the reader is in ROOMS. Alice, Bob and the
    remote user share one room.
    """

    host: Device
    guest: Device
    reader: Device
    alice: Device
    bob: Device
    remote: Device | None
    room_id: str
    quiet_room_id: str

    @classmethod
    def make(cls, base_url: str, remote_url: str | None) -> Self:
        """Make them, and their rooms."""
        host, guest, reader, alice, bob = (
            Device(base_url, name) for name in ("host", "guest", "reader", "alice", "bob")
        )
        rooms = [host.room(name=f"room {number}") for number in range(ROOMS)]
        for room_id in rooms:
            reader.ask("POST", f"/join/{quote(room_id)}", {})
            for number in range(10):
                host.send(room_id, f"past {number}")
        room_id = alice.room()
        bob.ask("POST", f"/join/{quote(room_id)}", {})
        remote = None if remote_url is None else Device(remote_url, "remote")
        if remote is not None:
            via = quote(alice.user_id.partition(":")[2])
            remote.ask("POST", f"/join/{quote(room_id)}?server_name={via}", {})
        for number in range(20):
            alice.send(room_id, f"past {number}")
        for device in (alice, bob):
            device.ask("POST", "/keys/upload", {"device_keys": _keys(device)})
        return cls(
            host=host,
            guest=guest,
            reader=reader,
            alice=alice,
            bob=bob,
            remote=remote,
            room_id=room_id,
            quiet_room_id=rooms[0],
        )


def _keys(device: Device) -> dict[str, object]:
    """Return keys of a device. The server does not verify a signature of its own users."""
    name = f"ed25519:{device.device_id}"
    key = secrets.token_urlsafe(32)
    return {
        "user_id": device.user_id,
        "device_id": device.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"curve25519:{device.device_id}": key, name: key},
        "signatures": {device.user_id: {name: secrets.token_urlsafe(64)}},
    }


# Each prepares a request, with a text that no other request had, and returns it.
def _create_room(scene: Scene, text: str) -> Act:
    return scene.host.later("POST", "/createRoom", {"preset": "public_chat", "name": text})


def _join(scene: Scene, text: str) -> Act:
    room_id = scene.host.room(name=text)
    return scene.guest.later("POST", f"/join/{quote(room_id)}", {})


def _send(scene: Scene, text: str) -> Act:
    return scene.alice.later("PUT", _message_path(scene.room_id, text), _message(text))


def _messages(scene: Scene, text: str) -> Act:
    scene.alice.send(scene.room_id, text)
    return scene.bob.later("GET", f"/rooms/{quote(scene.room_id)}/messages?dir=b&limit=20")


def _heard_by(listener: Device, scene: Scene, text: str) -> Act:
    """From sending a message until a long poll that waits has it."""
    listener.later("GET", "/account/whoami")()
    since = listener.since()
    send = _send(scene, text)

    def act() -> float:
        with ThreadPoolExecutor(1) as pool:
            heard = pool.submit(listener.hear, since, scene.room_id, text)
            time.sleep(UNTIL_IT_WAITS)
            began = time.monotonic()
            send()
            return heard.result() - began

    return act


def _heard(scene: Scene, text: str) -> Act:
    return _heard_by(scene.bob, scene, text)


def _heard_remotely(scene: Scene, text: str) -> Act:
    assert scene.remote is not None
    return _heard_by(scene.remote, scene, text)


def _receipt(scene: Scene, text: str) -> Act:
    event_id = scene.alice.send(scene.room_id, text)
    path = f"/rooms/{quote(scene.room_id)}/receipt/m.read/{quote(event_id)}"
    return scene.bob.later("POST", path, {})


def _initial_sync(scene: Scene, text: str) -> Act:
    # Synapse caches an initial sync by its query.
    number = int(text.rpartition(" ")[2])
    return scene.reader.later("GET", f"/sync?timeout={number}")


def _sliding(scene: Scene, text: str) -> Act:
    return scene.reader.later("POST", f"{SLIDING}?timeout=0", _window(text))


def _sliding_next(scene: Scene, text: str) -> Act:
    first = scene.reader.ask("POST", f"{SLIDING}?timeout=0", _window(text))
    scene.host.send(scene.quiet_room_id, text)
    path = f"{SLIDING}?timeout=0&pos={quote(first['pos'])}"
    return scene.reader.later("POST", path, _window(text))


def _window(connection: str) -> dict[str, object]:
    """Return the request of a client that shows a list of rooms, as Element X does."""
    rooms = {
        "ranges": [[0, ROOMS - 1]],
        "timeline_limit": 10,
        "required_state": [["m.room.name", ""], ["m.room.member", "$LAZY"]],
    }
    extensions = {"to_device": {"enabled": True}, "receipts": {"enabled": True}}
    return {"conn_id": connection, "lists": {"all": rooms}, "extensions": extensions}


def _login(scene: Scene, _: str) -> Act:
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": scene.bob.user_id},
        "password": PASSWORD,
        "device_id": "LOGIN",
    }
    return scene.guest.later("POST", "/login", body)


def _register(scene: Scene, text: str) -> Act:
    name = text.replace(" ", "-").lower()
    return scene.guest.later("POST", "/register", _registration(name))


def _upload(scene: Scene, _: str) -> Act:
    return scene.alice.later("POST", "/_matrix/media/v3/upload", secrets.token_bytes(SIZE))


def _download(scene: Scene, _: str) -> Act:
    made = scene.alice.call("POST", "/_matrix/media/v3/upload", secrets.token_bytes(SIZE))
    place = json.loads(made)["content_uri"].removeprefix("mxc://")
    return scene.bob.later("GET", f"/_matrix/client/v1/media/download/{place}")


def _keys_query(scene: Scene, _: str) -> Act:
    wanted: dict[str, object] = {scene.alice.user_id: [], scene.bob.user_id: []}
    return scene.alice.later("POST", "/keys/query", {"device_keys": wanted})


REMOTE = "send until a remote /sync has it"
KINDS: Mapping[str, Callable[[Scene, str], Act]] = {
    "createRoom": _create_room,
    "join": _join,
    "send": _send,
    "/messages": _messages,
    "send until another /sync has it": _heard,
    "receipt": _receipt,
    "initial sync": _initial_sync,
    "sliding sync, first": _sliding,
    "sliding sync, next": _sliding_next,
    "login": _login,
    "register": _register,
    "upload": _upload,
    "download": _download,
    "keys/query": _keys_query,
    REMOTE: _heard_remotely,
}
