"""Requests of other homeservers."""

import time
from dataclasses import replace
from urllib.parse import quote

from tests.behaviour import Call, World, recipe, unique
from tests.homeserver import FEDERATION, ROOM_VERSION, event_id
from tests.matrix import CLIENT, Json


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
