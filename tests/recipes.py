"""A well-formed, authorised request for each servlet that workers register."""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from signedjson.key import generate_signing_key
from signedjson.sign import sign_json

from tests.account_flows import png
from tests.homeserver import FEDERATION, ROOM_VERSION, Homeserver, Member, event_id
from tests.matrix import CLIENT, Json
from tests.oracle.samples import Registration
from tests.raw_http import Answer, unix_request
from tests.wakes import as_id, public

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
RECIPES: dict[tuple[str, str], Recipe] = {}


def recipe(*names: str, methods: str = "GET") -> Callable[[Recipe], Recipe]:
    """Let a function make the requests of these servlets' methods."""

    def add(function: Recipe) -> Recipe:
        RECIPES.update({(name, method): function for name in names for method in methods.split()})
        return function

    return add


def requests(row: Registration) -> Iterator[Recipe]:
    """Yield the recipes of a row: several where its pattern has alternatives."""
    name = row.servlet.rpartition(".")[2]
    if name == "RoomMembershipRestServlet":
        yield from (membership(action) for action in MEMBERSHIPS)
        return
    method = "GET" if row.method == "*" else row.method
    make = RECIPES.get((row.pattern, method)) or RECIPES.get((name, method)) or _default(row)
    yield make


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


MEMBERSHIPS = ("join", "invite", "leave", "ban", "unban", "kick")


def membership(action: str) -> Recipe:
    def make(world: World) -> Call:
        owner, other = world.alice, world.user()
        room_id = world.room(owner)
        path = f"{CLIENT}/rooms/{quote(room_id)}"
        if action not in ("join", "invite"):
            world.call("POST", f"{path}/join", token=other.token)
        if action == "unban":
            world.call("POST", f"{path}/ban", {"user_id": other.user_id})
        own = action in ("join", "leave")
        return Call(
            values={"room_id": room_id, "membership_action": action},
            body={} if own else {"user_id": other.user_id},
            token=other.token if own else owner.token,
        )

    return make


# Media.


@recipe("DownloadResource", "ThumbnailResource")
def _media(world: World) -> Call:
    query = {"width": "32", "height": "32", "method": "crop"}
    return Call(token=world.alice.token, query=query)


@recipe(
    "/_matrix/media/(r0|v3|v1)/download/(?P<server_name>[^/]*)/(?P<media_id>[^/]*)"
    "(/(?P<file_name>[^/]*))?$",
    "/_matrix/media/(r0|v3|v1)/thumbnail/(?P<server_name>[^/]*)/(?P<media_id>[^/]*)$",
)
def _old_media(world: World) -> Call:
    # Media that were uploaded since downloads need a token are not there.
    return replace(_media(world), status=404)


@recipe("PreviewUrlResource", "PreviewURLServlet")
def _preview(world: World) -> Call:
    url = f"{world.base_url}/_matrix/client/versions"
    return Call(token=world.alice.token, query={"url": url})


@recipe("UploadServlet", methods="POST")
def _upload(world: World) -> Call:
    return Call(token=world.alice.token, body=png(8, 8))


@recipe("AsyncUploadServlet", methods="PUT")
def _upload_later(world: World) -> Call:
    process = "media_repository1" if world.has_media_worker else "main"
    made = world.call("POST", "/_matrix/media/v1/create", process=process)
    media_id = str(made["content_uri"]).rpartition("/")[2]
    return Call(token=world.alice.token, values={"media_id": media_id}, body=png(8, 8))


@recipe("FederationMediaThumbnailServlet")
def _federated_thumbnail(_: World) -> Call:
    return Call(federation=True, query={"width": "32", "height": "32", "method": "crop"})


@recipe(
    "QueryMediaById", "ListQuarantineChanges", "ListMediaInRoom", "UserMediaRestServlet",
    "RoomRestServlet", "UserRestServletV2",
)  # fmt: skip
def _administration(world: World) -> Call:
    return Call(token=world.admin)


@recipe(
    "ProtectMediaByID", "UnprotectMediaByID", "QuarantineMediaInRoom", "QuarantineMediaByUser",
    "QuarantineMediaByID", "UnquarantineMediaByID", methods="POST",
)  # fmt: skip
def _change_media(world: World) -> Call:
    values = {"media_id": world.media(), "room_id": world.room(world.alice)}
    return Call(token=world.admin, values={**values, "user_id": world.user().user_id}, body={})


@recipe("DeleteMediaByDateSize", "PurgeMediaCacheRestServlet", methods="POST")
def _delete_old_media(world: World) -> Call:
    # Synapse takes no time before 1980 for milliseconds.
    return Call(token=world.admin, query={"before_ts": "1000000000000"}, body={})


@recipe("DeleteMediaByID", "UserMediaRestServlet", methods="DELETE")
def _delete_media(world: World) -> Call:
    values = {"media_id": world.media(), "user_id": world.user().user_id}
    return Call(token=world.admin, values=values)


@recipe("RoomRestServlet", methods="DELETE")
def _delete_room(world: World) -> Call:
    return Call(token=world.admin, values={"room_id": world.room(world.bob)}, body={})


# Resources that serve all below their path.


@recipe(r"^/\.well\-known(/|$)")
def _well_known(_: World) -> Call:
    return Call(path="/matrix/client")


@recipe("Resource")
def _pick_username(_: World) -> Call:
    # Nobody began a login.
    return Call(path="/account_details", status=400)


@recipe("FederationWhitelistResource")
def _whitelist(world: World) -> Call:
    return Call(token=world.alice.token)


@recipe("PickIdpResource")
def _pick_idp(_: World) -> Call:
    return Call(query={"redirectUrl": "https://client.example/"})


@recipe("UnsubscribeResource", "NewUserConsentResource", "SsoRegisterResource")
def _without_session(_: World) -> Call:
    return Call(status=400)


@recipe("OIDCResource")
def _oidc(_: World) -> Call:
    return Call(path="/callback", status=400)


# Logging in.


@recipe("LoginRestServlet", methods="POST")
def _login(world: World) -> Call:
    return Call(body=world.alice.proof)


@recipe("RegisterRestServlet", methods="POST")
def _register(_: World) -> Call:
    return Call(
        body={"username": unique(), "password": unique(), "auth": {"type": "m.login.dummy"}}
    )


@recipe("UsernameAvailabilityRestServlet")
def _available(_: World) -> Call:
    return Call(query={"username": unique()})


@recipe("RegistrationTokenValidityRestServlet")
def _token_validity(_: World) -> Call:
    return Call(query={"token": "none"})


@recipe("SsoRedirectServlet")
def _sso(_: World) -> Call:
    return Call(query={"redirectUrl": "https://client.example/"}, status=302)


@recipe("CasTicketServlet")
def _cas(_: World) -> Call:
    # The service that would know the ticket does not exist.
    query = {"ticket": "x", "redirectUrl": "https://client.example/"}
    return Call(query=query, status=500)


@recipe("AuthMetadataServlet")
def _auth_metadata(_: World) -> Call:
    # Synapse has them where another service logs users in.
    return Call(status=404)


# Rooms.


@recipe("RoomCreateRestServlet", methods="POST PUT")
def _create_room(world: World) -> Call:
    return Call(token=world.alice.token, body={"name": "a room"})


@recipe("JoinRoomAliasServlet", methods="POST PUT")
def _join(world: World) -> Call:
    return Call(token=world.user().token, body={})


@recipe("KnockRoomAliasServlet", methods="POST")
def _knock(world: World) -> Call:
    room_id = world.knocking()
    return Call(token=world.user().token, values={"room_identifier": room_id}, body={})


@recipe("RoomSendEventRestServlet", methods="POST PUT")
def _send(world: World) -> Call:
    return Call(token=world.alice.token, body={"msgtype": "m.text", "body": "hello"})


@recipe("RoomStateEventRestServlet", methods="GET PUT")
def _state(world: World) -> Call:
    path = f"{CLIENT}/rooms/{quote(world.room_id)}/state/m.room.topic/"
    world.call("PUT", path, {"topic": unique()})
    values = {"event_type": "m.room.topic"}
    return Call(token=world.alice.token, values=values, body={"topic": unique()})


@recipe("RoomRedactEventRestServlet", methods="POST PUT")
def _redact(world: World) -> Call:
    return Call(token=world.alice.token, values={"event_id": world.message(world.room_id)}, body={})


@recipe("RoomMessageListRestServlet")
def _messages(world: World) -> Call:
    return Call(token=world.alice.token, query={"dir": "b", "limit": "10"})


@recipe("TimestampLookupRestServlet")
def _at_time(world: World) -> Call:
    now = str(int(time.time() * 1000))
    return Call(token=world.alice.token, query={"dir": "b", "ts": now})


@recipe("FederationTimestampLookupServlet")
def _federated_at_time(_: World) -> Call:
    return Call(federation=True, query={"dir": "b", "ts": str(int(time.time() * 1000))})


@recipe("SearchRestServlet", methods="POST")
def _search(world: World) -> Call:
    categories = {"room_events": {"search_term": "hello"}}
    return Call(token=world.alice.token, body={"search_categories": categories})


@recipe("ClientDirectoryServer", methods="PUT")
def _add_alias(world: World) -> Call:
    values = {"room_alias": f"#{unique()}:localhost"}
    return Call(token=world.alice.token, values=values, body={"room_id": world.room_id})


@recipe("ClientDirectoryServer", methods="DELETE")
def _remove_alias(world: World) -> Call:
    alias = f"#{unique()}:localhost"
    world.call("PUT", f"{CLIENT}/directory/room/{quote(alias)}", {"room_id": world.room_id})
    return Call(token=world.alice.token, values={"room_alias": alias})


@recipe("RoomTypingRestServlet", methods="PUT")
def _typing(world: World) -> Call:
    return Call(token=world.alice.token, body={"typing": True, "timeout": 1000})


@recipe("ReadMarkerRestServlet", methods="POST")
def _read_marker(world: World) -> Call:
    event = world.message(world.room_id)
    return Call(token=world.alice.token, body={"m.fully_read": event, "m.read": event})


@recipe("AppserviceRoomMembershipRestServlet")
def _is_joined(world: World) -> Call:
    return Call(token=SERVICE_TOKEN, query={"mxid": world.alice.user_id})


@recipe("ThreadSubscriptionsRestServlet", methods="PUT GET DELETE")
def _thread(world: World) -> Call:
    root = world.message(world.room_id)
    path = f"/_matrix/client/unstable/io.element.msc4306/rooms/{quote(world.room_id)}/thread"
    process = "streams1" if (world.sockets / "streams1.sock").exists() else "main"
    world.call("PUT", f"{path}/{quote(root)}/subscription", {}, process=process)
    return Call(token=world.alice.token, values={"thread_root_id": root}, body={})


@recipe("ThreadSubscriptionsPaginationRestServlet")
def _threads(world: World) -> Call:
    return Call(token=world.alice.token, query={"dir": "b"})


# Accounts and devices.


@recipe("EventStreamRestServlet", "SyncRestServlet")
def _sync(world: World) -> Call:
    return Call(token=world.alice.token, query={"timeout": "0"})


@recipe("SlidingSyncRestServlet", methods="POST")
def _sliding(world: World) -> Call:
    lists = {"a": {"ranges": [[0, 9]], "timeline_limit": 1, "required_state": []}}
    return Call(token=world.alice.token, query={"timeout": "0"}, body={"lists": lists})


@recipe("PresenceStatusRestServlet", methods="PUT")
def _presence(world: World) -> Call:
    return Call(token=world.alice.token, body={"presence": "online"})


@recipe("ThreepidRestServlet", methods="POST")
def _add_threepid(world: World) -> Call:
    # Nobody validated an address.
    body = {"three_pid_creds": {"client_secret": "x", "sid": "1"}}
    return Call(token=world.alice.token, body=body, status=400)


@recipe("DeactivateAccountRestServlet", methods="POST")
def _deactivate(world: World) -> Call:
    user = world.user()
    return Call(token=user.token, body={"auth": user.proof})


@recipe("DeleteDevicesRestServlet", methods="POST")
def _delete_devices(world: World) -> Call:
    user = world.user()
    return Call(token=user.token, body={"auth": user.proof, "devices": [world.device(user)]})


@recipe("DeviceRestServlet", methods="DELETE")
def _delete_device(world: World) -> Call:
    user = world.user()
    return Call(
        token=user.token, values={"device_id": world.device(user)}, body={"auth": user.proof}
    )


@recipe("DeviceRestServlet", methods="PUT")
def _device(world: World) -> Call:
    return Call(token=world.alice.token, body={"display_name": unique()})


@recipe("KeyChangesServlet")
def _key_changes(world: World) -> Call:
    token = world.call("GET", f"{CLIENT}/sync?timeout=0")["next_batch"]
    return Call(token=world.alice.token, query={"from": token, "to": token})


@recipe("OneTimeKeyServlet", "UnstableOneTimeKeyServlet", methods="POST")
def _claim(world: World) -> Call:
    keys = {world.bob.user_id: {world.bob.device_id: "signed_curve25519"}}
    return Call(token=world.alice.token, body={"one_time_keys": keys})


@recipe("KeyQueryServlet", methods="POST")
def _query_keys(world: World) -> Call:
    return Call(token=world.alice.token, body={"device_keys": {world.bob.user_id: []}})


@recipe("KeyUploadServlet", methods="POST")
def _upload_keys(world: World) -> Call:
    key = {"key": "AAAA", "signatures": {}}
    body = {"one_time_keys": {f"signed_curve25519:{unique()}": key}}
    return Call(token=world.alice.token, body=body)


@recipe("SigningKeyUploadServlet", methods="POST")
def _cross_signing(world: World) -> Call:
    user = world.user()
    return Call(token=user.token, body=cross_signing(user)[1])


@recipe("SignaturesUploadServlet", methods="POST")
def _signatures(world: World) -> Call:
    user, other = world.user(), world.user()
    signing, body = cross_signing(user)
    world.call("POST", f"{CLIENT}/keys/device_signing/upload", body, token=user.token)
    _, others = cross_signing(other)
    world.call("POST", f"{CLIENT}/keys/device_signing/upload", others, token=other.token)
    master = others["master_key"]
    (key,) = master["keys"].values()
    signed = sign_json(dict(master), user.user_id, signing)
    return Call(token=user.token, body={other.user_id: {key: signed}})


def cross_signing(user: User) -> tuple[Any, Json]:
    """Return a user-signing key and the upload of all three keys."""
    keys = {use: generate_signing_key(use) for use in ("master", "self_signing", "user_signing")}
    master = as_id(keys["master"])
    body: Json = {"master_key": public(master, user.user_id, "master")}
    for use in ("self_signing", "user_signing"):
        unsigned = public(keys[use], user.user_id, use)
        body[f"{use}_key"] = sign_json(unsigned, user.user_id, master)
    return as_id(keys["user_signing"]), body


@recipe("RoomKeysServlet", methods="GET PUT DELETE")
def _room_keys(world: World) -> Call:
    user = world.user()
    number = world.backup(user)
    data = {
        "first_message_index": 1,
        "forwarded_count": 0,
        "is_verified": True,
        "session_data": {"a": "b"},
    }
    path = f"{KEYS}/keys/{quote(world.room_id)}/session?version={number}"
    world.call("PUT", path, data, token=user.token)
    return Call(token=user.token, query={"version": number}, body=data)


@recipe("RoomKeysNewVersionServlet", methods="POST")
def _new_backup(world: World) -> Call:
    body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {}}
    return Call(token=world.user().token, body=body)


@recipe("RoomKeysNewVersionServlet", "RoomKeysVersionServlet", methods="GET PUT DELETE")
def _backup(world: World) -> Call:
    user = world.user()
    number = world.backup(user)
    body = {
        "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": {},
        "version": number,
    }
    return Call(token=user.token, values={"version": number}, body=body)


@recipe("SendToDeviceRestServlet", methods="PUT")
def _to_device(world: World) -> Call:
    return Call(token=world.alice.token, body={"messages": {world.bob.user_id: {"*": {"a": 1}}}})


@recipe(
    "AccountDataServlet", "UnstableAccountDataServlet", "RoomAccountDataServlet",
    "UnstableRoomAccountDataServlet", methods="GET PUT DELETE",
)  # fmt: skip
def _account_data(world: World) -> Call:
    kind = f"org.example.{unique()}"
    user = f"{CLIENT}/user/{quote(world.alice.user_id)}"
    for place in (user, f"{user}/rooms/{quote(world.room_id)}"):
        world.call("PUT", f"{place}/account_data/{kind}", {"a": 1})
    return Call(token=world.alice.token, values={"account_data_type": kind}, body={"a": 2})


@recipe("TagServlet", methods="PUT DELETE")
def _tag(world: World) -> Call:
    return Call(token=world.alice.token, body={"order": 0.5})


@recipe("PushRuleRestServlet", methods="GET PUT DELETE")
def _push_rule(world: World) -> Call:
    name = unique()
    body = {"pattern": name, "actions": ["notify"]}
    process = "streams1" if (world.sockets / "streams1.sock").exists() else "main"
    world.call("PUT", f"{CLIENT}/pushrules/global/content/{name}", body, process=process)
    return Call(
        token=world.alice.token, values={"path": f"pushrules/global/content/{name}"}, body=body
    )


@recipe("CreateFilterRestServlet", methods="POST")
def _filter(world: World) -> Call:
    return Call(token=world.alice.token, body={"room": {"timeline": {"limit": 5}}})


@recipe("GetFilterRestServlet")
def _get_filter(world: World) -> Call:
    path = f"{CLIENT}/user/{quote(world.alice.user_id)}/filter"
    number = world.call("POST", path, {"room": {"timeline": {"limit": 6}}})["filter_id"]
    return Call(token=world.alice.token, values={"filter_id": str(number)})


@recipe("UserDirectorySearchRestServlet", methods="POST")
def _user_directory(world: World) -> Call:
    return Call(token=world.alice.token, body={"search_term": "u"})


@recipe("UnstableProfileFieldRestServlet", methods="PUT DELETE")
def _profile(world: World) -> Call:
    # A user of its own: Synapse 1.163.2 fails if one user changes a profile several times a second.
    user = world.user()
    body = {"displayname": unique(), "avatar_url": f"mxc://localhost/{unique()}"}
    return Call(token=user.token, values={"user_id": user.user_id}, body=body)


@recipe("AccountStatusRestServlet", methods="POST")
def _account_status(world: World) -> Call:
    return Call(token=world.alice.token, body={"user_ids": [world.bob.user_id]})


@recipe("FederationAccountStatusServlet", methods="POST")
def _federated_account_status(world: World) -> Call:
    # Synapse 1.163.2 cannot call its own function.
    return Call(federation=True, body={"user_ids": [world.bob.user_id]}, status=500)


@recipe("DehydratedDeviceV2Servlet", methods="GET PUT DELETE")
def _dehydrated(world: World) -> Call:
    user = world.user()
    device_id = unique()
    keys = {
        "user_id": user.user_id,
        "device_id": device_id,
        "algorithms": [],
        "keys": {f"ed25519:{device_id}": "AAAA"},
        "signatures": {},
    }
    body = {
        "device_id": device_id,
        "device_data": {"algorithm": "org.example"},
        "initial_device_display_name": "dehydrated",
        "device_keys": keys,
    }
    path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
    world.call("PUT", path, body, token=user.token)
    return Call(token=user.token, body=body)


@recipe("DehydratedDeviceEventsServlet", methods="GET POST")
def _dehydrated_events(world: World) -> Call:
    call = _dehydrated(world)
    assert isinstance(call.body, dict)
    return Call(token=call.token, values={"device_id": call.body["device_id"]}, body={})


@recipe("AppservicePingRestServlet", methods="POST")
def _ping(_: World) -> Call:
    # Nobody answers at the service's address.
    return Call(token=SERVICE_TOKEN, body={}, status=502)


@recipe("AppserviceFederationProxyRestServlet", methods="POST")
def _fed_proxy(world: World) -> Call:
    path = f"{FEDERATION}/unstable/org.example/rtc/livekit/x"
    body = {"destination": world.other.name, "method": "GET", "path": path}
    return Call(token=SERVICE_TOKEN, body=body)


@recipe("DelayedEventServlet")
def _delayed(world: World) -> Call:
    return Call(token=world.alice.token, values={"delay_id": world.delayed()})


@recipe("RestartDelayedEventServlet", methods="POST")
def _restart_delayed(world: World) -> Call:
    return Call(token=world.alice.token, values={"delay_id": world.delayed()}, body={})


# Federation.


@recipe(
    "FederationUnstableClientKeysClaimServlet", "FederationClientKeysClaimServlet", methods="POST"
)
def _federated_claim(world: World) -> Call:
    keys = {world.bob.user_id: {world.bob.device_id: "signed_curve25519"}}
    return Call(federation=True, body={"one_time_keys": keys})


@recipe("FederationClientKeysQueryServlet", methods="POST")
def _federated_keys(world: World) -> Call:
    return Call(federation=True, body={"device_keys": {world.bob.user_id: []}})


@recipe("On3pidBindServlet", methods="POST")
def _bound(world: World) -> Call:
    return Call(
        body={"invites": [], "medium": "email", "address": "a@b", "mxid": world.bob.user_id}
    )


@recipe("FederationBackfillServlet")
def _backfill(world: World) -> Call:
    return Call(federation=True, query={"v": world.event_id, "limit": "5"})


@recipe("FederationStateV1Servlet", "FederationStateIdsServlet")
def _federated_state(world: World) -> Call:
    return Call(federation=True, query={"event_id": world.event_id})


@recipe("FederationThirdPartyInviteExchangeServlet", methods="PUT")
def _exchange(world: World) -> Call:
    # Nobody was invited by an address.
    content = {"membership": "invite", "third_party_invite": {"signed": {"token": "x"}}}
    body = {
        "type": "m.room.member",
        "room_id": world.room_id,
        "sender": world.zoe.user_id,
        "state_key": world.bob.user_id,
        "content": content,
    }
    return Call(federation=True, body=body, status=403)


@recipe("FederationGetMissingEventsServlet", methods="POST")
def _missing(world: World) -> Call:
    body = {"earliest_events": [], "latest_events": [world.event_id], "limit": 5}
    return Call(federation=True, body=body)


@recipe("FederationV1InviteServlet", methods="PUT")
def _federated_invite_v1(world: World) -> Call:
    # For rooms of version 1, whose events have an ID.
    number = f"${unique()}:{world.other.name}"
    event = world.other.event({**_invite(world), "event_id": number}, "1")
    return Call(
        federation=True, values={"room_id": event["room_id"], "event_id": number}, body=event
    )


@recipe("FederationV2InviteServlet", methods="PUT")
def _federated_invite(world: World) -> Call:
    event = world.other.event(_invite(world))
    return Call(
        federation=True,
        values={"room_id": event["room_id"], "event_id": event_id(event)},
        body={"room_version": ROOM_VERSION, "event": event, "invite_room_state": []},
    )


def _invite(world: World) -> Json:
    return {
        "type": "m.room.member",
        "room_id": f"!{unique()}:{world.other.name}",
        "sender": world.zoe.user_id,
        "state_key": world.alice.user_id,
        "content": {"membership": "invite"},
    }


@recipe("FederationMakeKnockServlet")
def _make_knock(world: World) -> Call:
    call = _make_join(world)
    return replace(call, values={**call.values, "room_id": world.knocking()})


@recipe("FederationMakeJoinServlet")
def _make_join(world: World) -> Call:
    return Call(
        federation=True,
        values={"user_id": world.other.user(unique())},
        query={"ver": ROOM_VERSION},
    )


@recipe("FederationMakeLeaveServlet")
def _make_leave(world: World) -> Call:
    return Call(federation=True, values={"user_id": world.zoe.user_id})


def _member(world: World, action: str, user_id: str, room_id: str) -> Call:
    path = f"{FEDERATION}/v1/make_{action}/{quote(room_id)}/{quote(user_id)}?ver={ROOM_VERSION}"
    event = world.other.ask(world.to_main, "GET", path)["event"]
    for name in ("hashes", "signatures", "unsigned", "event_id"):
        event.pop(name, None)
    signed = world.other.event(event)
    values = {"room_id": room_id, "event_id": event_id(signed)}
    return Call(federation=True, values=values, body=signed)


@recipe("FederationV1SendJoinServlet", "FederationV2SendJoinServlet", methods="PUT")
def _send_join(world: World) -> Call:
    return _member(world, "join", world.other.user(unique()), world.room(world.alice))


@recipe("FederationV1SendLeaveServlet", "FederationV2SendLeaveServlet", methods="PUT")
def _send_leave(world: World) -> Call:
    room_id, user_id = world.room(world.alice), world.other.user(unique())
    world.other.join(world.to_main, room_id, user_id)
    return _member(world, "leave", user_id, room_id)


@recipe("FederationV1SendKnockServlet", methods="PUT")
def _send_knock(world: World) -> Call:
    room_id = world.knocking()
    return _member(world, "knock", world.other.user(unique()), room_id)


@recipe("OpenIdUserInfo")
def _openid(world: World) -> Call:
    path = f"{CLIENT}/user/{quote(world.alice.user_id)}/openid/request_token"
    token = world.call("POST", path)["access_token"]
    return Call(query={"access_token": token})


@recipe("FederationQueryServlet")
def _query(world: World) -> Call:
    return Call(federation=True, query={"user_id": world.alice.user_id})


@recipe("PublicRoomList", methods="POST")
def _public_rooms(_: World) -> Call:
    return Call(federation=True, body={})


@recipe("FederationSendServlet", methods="PUT")
def _transaction(world: World) -> Call:
    typing = {"room_id": world.room_id, "user_id": world.zoe.user_id, "typing": True}
    body = {
        "origin": world.other.name,
        "origin_server_ts": int(time.time() * 1000),
        "pdus": [world.zoe.message("hello")],
        "edus": [{"edu_type": "m.typing", "content": typing}],
    }
    return Call(federation=True, body=body)


@recipe("RemoteKey", methods="POST")
def _keys_of_others(world: World) -> Call:
    return Call(body={"server_keys": {world.other.name: {}}})
