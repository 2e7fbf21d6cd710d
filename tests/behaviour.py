"""A well-formed, authorised request for each servlet that workers register."""

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

from tests.account_flows import png
from tests.homeserver import FEDERATION, ROOM_VERSION, Homeserver, Member
from tests.matrix import CLIENT, Json
from tests.oracle.samples import Registration
from tests.raw_http import Answer, unix_request

SERVICE_TOKEN = "token-of-the-service"
SERVICE = """\
id: test
url: "http://127.0.0.1:1"
as_token: token-of-the-service
hs_token: hs-token
sender_localpart: service
namespaces:
  users: [{exclusive: false, regex: "@.*"}]
  rooms: []
  aliases: []
io.element.msc4512.proxy_prefix: rtc/livekit
io.element.msc4512.proxy_url: "http://127.0.0.1:1"
io.element.msc4502.scopes: ["urn:matrix:client:io.element.msc4502:rooms:is_joined"]
"""
THREADED = "m.thread"
KEYS = f"{CLIENT}/room_keys"
CLIENT_IP = "127.0.0.1"
VERSIONS = re.compile(r"\((?:api/v1\||r0\||v1\||v3\|)[a-z0-9.|/]*\)")
GROUP = re.compile(r"\(\?P<(\w+)>(?:\[[^]]+\][*+]|[^()]+)\)")


@dataclass(frozen=True, kw_only=True)
class User:
    """A user's account and first device."""

    user_id: str
    device_id: str
    token: str
    password: str

    @property
    def proof(self) -> Json:
        """The user's password, where Synapse asks for it again."""
        identifier = {"type": "m.id.user", "user": self.user_id}
        return {"type": "m.login.password", "identifier": identifier, "password": self.password}


@dataclass(frozen=True, kw_only=True)
class Call:
    """The parts of a request that its pattern does not have.

    `token` is an access token, `federation` that the other homeserver sends and signs it. `path`
    is below the path of a resource that serves several. `status` is the response of main.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | bytes | None = None
    token: str | None = None
    federation: bool = False
    path: str = ""
    status: int = 200


class World:
    """Users, rooms, media and keys on a server, and another homeserver with a user in a room."""

    def __init__(self, sockets: Path, base_url: str, other: Homeserver, admin_token: str) -> None:
        self.sockets = sockets
        self.base_url = base_url
        self.other = other
        self.admin = admin_token
        self.alice = self.user()
        self.bob = self.user()
        self.room_id = self.room(self.alice)
        self.event_id = self.message(self.room_id)
        self.alias = f"#{secrets.token_hex(4)}:localhost"
        self.call("PUT", f"{CLIENT}/directory/room/{quote(self.alias)}", {"room_id": self.room_id})
        self.zoe: Member = other.join(self.to_main, self.room_id, other.user("zoe"))
        self.media_id = self.media()

    def ask(
        self,
        process: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> Answer:
        """Send a request straight to a process, with the header that nginx adds."""
        socket = self.sockets / f"{process}.sock"
        return unix_request(socket, method, path, {**headers, "X-Forwarded-For": CLIENT_IP}, body)

    def to_main(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        return self.ask("main", method, path, headers, body)

    def call(
        self,
        method: str,
        path: str,
        body: Json | bytes | None = None,
        *,
        token: str | None = None,
        process: str = "main",
    ) -> Json:
        """Send a request with Alice's token or another, which must succeed."""
        image = isinstance(body, bytes)
        headers = {
            "Authorization": f"Bearer {token or self.alice.token}",
            "Content-Type": "image/png" if image else "application/json",
        }
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        answer = self.ask(process, method, path, headers, data)
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body!r}"
        found: Json = answer.json()
        return found

    def user(self) -> User:
        password = secrets.token_urlsafe()
        body = {"username": unique(), "password": password, "auth": {"type": "m.login.dummy"}}
        answer = self.to_main("POST", f"{CLIENT}/register", {}, json.dumps(body).encode())
        assert answer.status == 200, answer
        found = answer.json()
        return User(
            user_id=found["user_id"],
            device_id=found["device_id"],
            token=found["access_token"],
            password=password,
        )

    def room(self, user: User, **options: object) -> str:
        body = {"preset": "public_chat", "room_version": ROOM_VERSION, **options}
        made = self.call("POST", f"{CLIENT}/createRoom", body, token=user.token)
        return str(made["room_id"])

    def knocking(self) -> str:
        """Return a room on which anybody may knock."""
        rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        return self.room(self.alice, preset="private_chat", initial_state=[rule])

    def message(self, room_id: str, user: User | None = None, **content: object) -> str:
        path = f"{CLIENT}/rooms/{quote(room_id)}/send/m.room.message/{unique()}"
        body = {"msgtype": "m.text", "body": "hello", **content}
        sent = self.call("PUT", path, body, token=(user or self.alice).token)
        return str(sent["event_id"])

    def media(self) -> str:
        process = "media_repository1" if self.has_media_worker else "main"
        path = "/_matrix/media/v3/upload"
        uri = self.call("POST", path, png(64, 48), process=process)["content_uri"]
        return str(uri).rpartition("/")[2]

    @property
    def has_media_worker(self) -> bool:
        return (self.sockets / "media_repository1.sock").exists()

    def device(self, user: User) -> str:
        """Return another device of a user."""
        made = self.call("POST", f"{CLIENT}/login", user.proof)
        return str(made["device_id"])

    def backup(self, user: User) -> str:
        body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {}}
        return str(self.call("POST", f"{KEYS}/version", body, token=user.token)["version"])

    def delayed(self) -> str:
        path = f"{CLIENT}/rooms/{quote(self.room_id)}/send/m.room.message/{unique()}"
        query = "?org.matrix.msc4140.delay=600000"
        body = {"msgtype": "m.text", "body": "later"}
        return str(self.call("PUT", f"{path}{query}", body)["delay_id"])

    @property
    def values(self) -> dict[str, str]:
        """The parts of paths, for all requests without their own."""
        alice = self.alice.user_id
        return {
            "room_id": self.room_id,
            "room_identifier": self.alias,
            "room_alias": self.alias,
            "user_id": alice,
            "target_user_id": alice,
            "event_id": self.event_id,
            "parent_id": self.event_id,
            "thread_root_id": self.event_id,
            "relation_type": THREADED,
            "event_type": "m.room.message",
            "state_key": "",
            "txn_id": unique(),
            "transaction_id": unique(),
            "membership_action": "invite",
            "receipt_type": "m.read",
            "device_id": self.alice.device_id,
            "server_name": "localhost",
            "server": "localhost",
            "key_id": "",
            "media_id": self.media_id,
            "file_name": "a.png",
            "account_data_type": "org.example.setting",
            "tag": "u.work",
            "field_name": "displayname",
            "message_type": "org.example",
            "query_type": "profile",
            "path": "pushrules/global/content/ganglion",
            "appservice_id": "test",
            "idp_id": "oidc-test",
            "session_id": "session",
        }


Recipe = Callable[[World], Call]
# By a servlet's name or pattern, and the method.
RECIPES: dict[tuple[str, str], list[Recipe]] = {}


def recipe(*names: str, methods: str = "GET") -> Callable[[Recipe], Recipe]:
    """Let a function make the requests of these servlets' methods."""

    def add(function: Recipe) -> Recipe:
        for name in names:
            for method in methods.split():
                RECIPES.setdefault((name, method), []).append(function)
        return function

    return add


def requests(row: Registration) -> tuple[Recipe, ...]:
    """Return the recipes of a row: several where its pattern has alternatives."""
    name = row.servlet.rpartition(".")[2]
    method = "GET" if row.method == "*" else row.method
    return tuple(
        RECIPES.get((row.pattern, method)) or RECIPES.get((name, method)) or (_default(row),)
    )


def target(world: World, row: Registration, call: Call) -> tuple[str, str]:
    """Return the method and the path, without the query, of a request."""
    path = filled(row.pattern, {**world.values, **call.values}) + call.path
    assert re.match(row.pattern, path), (row.pattern, path)
    return "GET" if row.method == "*" else row.method, path


def send(world: World, process: str, row: Registration, call: Call) -> Answer:
    """Send a request straight to a process, and return the response."""
    method, path = target(world, row, call)
    if call.query:
        path = f"{path}?{urlencode(call.query)}"
    data = call.body
    headers = {"Host": "localhost"}
    if not isinstance(data, bytes | None):
        headers["Content-Type"] = "application/json"
        data = json.dumps(data).encode()
    if call.federation:
        body = call.body if isinstance(call.body, dict) else None
        headers["Authorization"] = world.other.authorization(method, path, body)
    elif call.token:
        headers["Authorization"] = f"Bearer {call.token}"
    return world.ask(process, method, path, headers, data)


def filled(pattern: str, values: Mapping[str, str]) -> str:
    """Return the path that a pattern matches with these values for its groups."""
    text = pattern.removeprefix("^").removesuffix("$").removesuffix("(/|$)")
    text = text.replace("(cas|sso)", "sso")
    text = VERSIONS.sub(lambda found: version(found[0]), text)

    def value(found: re.Match[str]) -> str:
        given = values[found[1]] if found[1] in values else found[0]
        return given if found[1] == "path" else quote(given, safe="")

    text = re.sub(r"\(\?P<field_name>(avatar_url|displayname)\)", r"\1", text)
    text = GROUP.sub(value, text)
    # An optional part is always there, but for an empty key ID.
    text = text.replace("(/)?", "").replace("(/", "/").replace(")?", "").replace("/?", "")
    text = text.replace("))", "")
    return re.sub(r"\\(.)", r"\1", text)


def version(group: str) -> str:
    """Return the version of the API to use out of `(r0|v3|unstable)`."""
    words = group.strip("()").split("|")
    return "v3" if "v3" in words else "v1"


def unique() -> str:
    return f"x{secrets.token_hex(5)}"


def _default(row: Registration) -> Recipe:
    federation = row.pattern.startswith(f"^{FEDERATION}")

    def make(world: World) -> Call:
        if federation:
            return Call(federation=True)
        return Call(token=world.alice.token, body=None if row.method == "GET" else {})

    return make
