"""Actions of one account, on its devices and with its files, checked by another session."""

import secrets
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from urllib.parse import quote

from nio import (
    EnablePushRuleResponse,
    LogoutResponse,
    MemoryDownloadResponse,
    PushNotify,
    PushRuleKind,
    SetPushRuleResponse,
    ToDeviceMessage,
    ToDeviceResponse,
    UploadResponse,
)

from tests.matrix import CLIENT, Conversation, Json, Session, event, events, eventually, ok

SLIDING_SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"


async def upload(session: Session) -> tuple[str, bytes]:
    """Upload an image. Returns its mxc:// URI and its bytes."""
    image = png(64, 48)
    answer, _ = await session.nio.upload(
        BytesIO(image), content_type="image/png", filename="a.png", filesize=len(image)
    )
    return str(ok(answer, UploadResponse).content_uri), image


async def upload_and_download(talk: Conversation) -> tuple[str, bytes]:
    """Upload and download an image, with a token only. Returns its mxc:// URI and its bytes."""
    uri, image = await upload(talk.alice)
    down = ok(await talk.bob.nio.download(uri), MemoryDownloadResponse)
    assert (down.body, down.content_type) == (image, "image/png")

    media_id = uri.removeprefix("mxc://")
    thumbnail = f"/_matrix/client/v1/media/thumbnail/{media_id}?width=32&height=32&method=crop"
    assert (await talk.bob.call("GET", thumbnail))["raw"].startswith(b"\x89PNG")
    v1, legacy = (
        f"{path}/{media_id}"
        for path in ("/_matrix/client/v1/media/download", "/_matrix/media/v3/download")
    )
    assert (await talk.bob.call("GET", v1, authenticated=False, expect=401))["errcode"]
    # The legacy paths do not serve media that was uploaded since tokens are required.
    gone = await talk.bob.call("GET", legacy, authenticated=False, expect=404)
    assert gone["errcode"] == "M_NOT_FOUND"
    limits = [
        await talk.bob.call("GET", path)
        for path in ("/_matrix/client/v1/media/config", "/_matrix/media/v3/config")
    ]
    assert limits[0]["m.upload.size"] == limits[1]["m.upload.size"] > 0
    return uri, image


async def quarantine(talk: Conversation, admin: Session) -> None:
    """Quarantine media as an administrator; no user can download it then."""
    uri, _ = await upload(talk.alice)
    media_id = uri.removeprefix("mxc://")
    path = f"/_matrix/client/v1/media/download/{media_id}"
    await talk.bob.call("GET", path)
    await admin.call("POST", f"/_synapse/admin/v1/media/quarantine/{media_id}", {})
    await eventually(lambda: talk.bob.call("GET", path, expect=404))


async def to_device(talk: Conversation) -> None:
    """Send a message from device to device, which arrives once."""
    content = {"token": secrets.token_hex(4)}
    message = ToDeviceMessage("org.example.ping", talk.bob.user_id, talk.bob.device_id, content)
    ok(await talk.alice.nio.to_device(message), ToDeviceResponse)
    await talk.bob.until(
        "message to the device",
        event(
            ("to_device",),
            lambda e: e["content"] == content and e["sender"] == talk.alice.user_id,
        ),
    )


async def account_data(talk: Conversation) -> None:
    """Set account data, room data and tags; they reach the user's other device."""
    user = f"{CLIENT}/user/{quote(talk.alice.user_id)}"
    room = f"{user}/rooms/{quote(talk.room_id)}"
    content = {"token": secrets.token_hex(4)}
    kind = "org.example.setting"
    await talk.alice.call("PUT", f"{user}/account_data/{kind}", content)
    await talk.alice_phone.until(
        "account data",
        event(("account_data",), lambda e: e["type"] == kind and e["content"] == content),
    )
    assert await talk.alice_phone.call("GET", f"{user}/account_data/{kind}") == content

    in_room = ("rooms", "join", talk.room_id, "account_data")
    await talk.alice.call("PUT", f"{room}/account_data/{kind}", content)
    await talk.alice_phone.until(
        "account data of the room",
        event(in_room, lambda e: e["type"] == kind and e["content"] == content),
    )
    await talk.alice.call("PUT", f"{room}/tags/u.work", {"order": 0.5})
    await talk.alice_phone.until(
        "tag",
        event(in_room, lambda e: e["type"] == "m.tag" and "u.work" in e["content"]["tags"]),
    )


async def push_rules(talk: Conversation) -> None:
    """Add and disable a push rule on one device; the other device sees it."""
    nio, name = talk.alice.nio, f"org.example.{secrets.token_hex(3)}"
    kind = PushRuleKind.content
    made = await nio.set_pushrule("global", kind, name, actions=[PushNotify()], pattern="ganglion")
    ok(made, SetPushRuleResponse)

    def enabled_as(*, wanted: bool) -> Callable[[Json], bool | None]:
        def look(answer: Json) -> bool | None:
            return (
                any(
                    rule["rule_id"] == name and rule["enabled"] is wanted
                    for e in events(answer, "account_data")
                    if e["type"] == "m.push_rules"
                    for rule in e["content"]["global"]["content"]
                )
                or None
            )

        return look

    path = f"{CLIENT}/pushrules/global/content/{name}"
    await talk.alice_phone.until("push rule", enabled_as(wanted=True))

    async def listed() -> None:
        rules = await talk.alice_phone.call("GET", f"{CLIENT}/pushrules/")
        assert name in {rule["rule_id"] for rule in rules["global"]["content"]}

    await eventually(listed)
    ok(await nio.enable_pushrule("global", kind, name, enable=False), EnablePushRuleResponse)
    await talk.alice_phone.until("disabled push rule", enabled_as(wanted=False))

    async def disabled() -> None:
        assert await talk.alice_phone.call("GET", f"{path}/enabled") == {"enabled": False}

    await eventually(disabled)
    await talk.alice.call("DELETE", path)
    await eventually(lambda: talk.alice_phone.call("GET", path, expect=404))


async def keys(talk: Conversation) -> None:
    """Upload keys. Another user receives the change, and can query and claim them.

    Synapse stores keys and signatures without looking into them, so random ones do.
    """
    phone, bob = talk.alice_phone, talk.bob
    key = secrets.token_urlsafe(32)
    device_keys = {
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "device_id": phone.device_id,
        "user_id": phone.user_id,
        "keys": {f"ed25519:{phone.device_id}": key, f"curve25519:{phone.device_id}": key},
        "signatures": {phone.user_id: {f"ed25519:{phone.device_id}": secrets.token_urlsafe(64)}},
    }
    one_time = {f"signed_curve25519:{secrets.token_hex(3)}": {"key": key, "signatures": {}}}
    body = {"device_keys": device_keys, "one_time_keys": one_time}
    uploaded = await phone.call("POST", f"{CLIENT}/keys/upload", body)
    assert uploaded["one_time_key_counts"]["signed_curve25519"] == 1
    await bob.until("change of devices", changed(phone.user_id))
    query: Json = {"device_keys": {phone.user_id: []}}

    async def known() -> None:
        answer = await bob.call("POST", f"{CLIENT}/keys/query", query)
        assert answer["device_keys"][phone.user_id][phone.device_id]["keys"] == device_keys["keys"]

    await eventually(known)
    claim = {"one_time_keys": {phone.user_id: {phone.device_id: "signed_curve25519"}}}
    claimed = await bob.call("POST", f"{CLIENT}/keys/claim", claim)
    assert claimed["one_time_keys"][phone.user_id][phone.device_id] == one_time


async def devices(talk: Conversation) -> None:
    """Rename a device; the other users of its rooms receive the change."""
    phone, name = talk.alice_phone, f"phone {secrets.token_hex(3)}"
    path = f"{CLIENT}/devices/{phone.device_id}"
    await phone.call("PUT", path, {"display_name": name})
    await talk.bob.until("change of devices", changed(phone.user_id))

    async def renamed() -> None:
        assert (await talk.alice.call("GET", path))["display_name"] == name

    await eventually(renamed)


def changed(user_id: str) -> Callable[[Json], bool | None]:
    """Make a function that finds the change of a user's devices in a response of /sync."""
    return lambda answer: user_id in answer.get("device_lists", {}).get("changed", ()) or None


async def thread_subscription(talk: Conversation, event_id: str) -> None:
    """Subscribe to a thread on one device; the other devices see it.

    https://github.com/matrix-org/matrix-spec-proposals/pull/4306, which is to be switched on.
    """
    room, thread = quote(talk.room_id), quote(event_id)
    path = f"/_matrix/client/unstable/io.element.msc4306/rooms/{room}/thread/{thread}/subscription"
    await talk.bob.call("GET", path, expect=404)
    await talk.bob.call("PUT", path, {})

    async def subscribed() -> None:
        assert await talk.bob.call("GET", path) == {"automatic": False}

    await eventually(subscribed)
    await talk.bob.call("DELETE", path)


async def sliding_sync(talk: Conversation) -> None:
    """Sliding sync shows the room too."""
    lists = {
        "all": {"ranges": [[0, 9]], "timeline_limit": 1, "required_state": [["m.room.create", ""]]}
    }
    answer = await talk.bob.call("POST", SLIDING_SYNC, {"lists": lists})
    assert talk.room_id in answer["rooms"]


async def log_out(talk: Conversation) -> None:
    """Log out a device; its token is invalid then, and the other device's is valid."""
    phone = talk.alice_phone
    token = phone.nio.access_token
    ok(await phone.nio.logout(), LogoutResponse)
    # nio forgets the token with the session.
    phone.nio.access_token = token

    # Workers with the token in a cache learn of it through replication.
    await eventually(lambda: phone.call("GET", f"{CLIENT}/account/whoami", expect=401))
    assert await talk.alice.call("GET", f"{CLIENT}/account/whoami")


def png(width: int, height: int) -> bytes:
    """Make a valid image of random grey dots, never the same twice."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + secrets.token_bytes(width) for _ in range(height))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
