"""No request that is routed to a worker needs a method that only the store of main has."""

from tests.oracle.missing import missing

# The methods that use one, with the reason why no worker runs them. The first two are reached by a
# servlet that workers register: the table of routes leaves their requests to main.
REASONS = {
    "federation.federation_server.FederationServer.on_openid_userinfo": "routed to main",
    "federation.federation_server.FederationServer.on_get_extremities_request": "routed to main",
    "handlers.auth.AuthHandler.create_access_token_for_user_id": (
        "/refresh and the login of another user by an administrator are registered on main only;"
        " RegistrationHandler.register_device asks main by replication"
    ),
    "handlers.auth.AuthHandler.create_refresh_token_for_user_id": "the same",
    "handlers.federation.FederationHandler.do_invite_join": (
        "RoomMemberWorkerHandler._remote_join asks main by replication"
    ),
    "handlers.federation.FederationHandler._sync_partial_state_room": "started by do_invite_join",
    "handlers.identity.IdentityHandler.send_threepid_validation": (
        "each /requestToken is registered on main only"
    ),
    "handlers.message.EventCreationHandler.create_and_send_new_client_events": (
        "without prev_event_id only for an upgrade of a room, which is registered on main only"
    ),
    "handlers.register.RegistrationHandler._on_user_consented": (
        "post_registration_actions asks main by replication"
    ),
    "push.pusherpool.PusherPool.add_or_update_pusher": (
        "/pushers/set is registered on main only, as is the setting of a user by an administrator;"
        " post_registration_actions asks main by replication"
    ),
    "push.pusherpool.PusherPool.delete_all_pushers_for_user": "asks main by replication",
    "push.pusherpool.PusherPool.remove_pusher": "asks main by replication",
}


def test_each_use_of_a_missing_method_has_a_reason() -> None:
    # A new one: ask a worker for a request that leads there, and route it to main if it fails.
    assert {method for method, _ in missing()} == set(REASONS)
