"""Requests about rooms."""

import time
from urllib.parse import quote

from tests.behaviour import SERVICE_TOKEN, Call, Recipe, World, recipe, unique
from tests.matrix import CLIENT

MEMBERSHIPS = ("join", "invite", "leave", "ban", "unban", "kick")


def _membership(action: str) -> Recipe:
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


for name in MEMBERSHIPS:
    recipe("RoomMembershipRestServlet", methods="POST PUT")(_membership(name))


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
