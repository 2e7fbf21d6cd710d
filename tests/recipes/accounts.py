"""Requests about accounts, devices and keys."""

from typing import Any
from urllib.parse import quote

from signedjson.key import generate_signing_key
from signedjson.sign import sign_json

from tests.behaviour import KEYS, SERVICE_TOKEN, Call, User, World, recipe, unique
from tests.homeserver import FEDERATION
from tests.matrix import CLIENT, Json
from tests.wakes import as_id, public


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
