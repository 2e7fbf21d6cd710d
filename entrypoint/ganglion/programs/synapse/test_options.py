"""Synapse's options in test mode: a file between our defaults and the operator's files.

The operator's files can override each option. The options are those of Synapse's own image for
Complement that the installed Synapse knows, and further ones that save tests from waiting.
tests/synapse/test_test_options.py reads them through Synapse.
"""

from typing import Any

from ganglion.settings import test_mode
from ganglion.settings.variables import Settings

# More than any test asks for, and no number that a program might count up to.
UNLIMITED = {"per_second": 10_000, "burst_count": 10_000}

# Tests do in a second what these are there to forbid. Every one of synapse/config/ratelimiting.py,
# but rc_admin_redaction, which is rc_message where it is not set.
RATE_LIMITS: dict[str, Any] = {
    "rc_message": UNLIMITED,
    "rc_registration": UNLIMITED,
    "rc_registration_token_validity": UNLIMITED,
    "rc_login": {"address": UNLIMITED, "account": UNLIMITED, "failed_attempts": UNLIMITED},
    "rc_joins": {"local": UNLIMITED, "remote": UNLIMITED},
    "rc_joins_per_room": UNLIMITED,
    "rc_key_requests": UNLIMITED,
    "rc_3pid_validation": UNLIMITED,
    "rc_invites": {"per_room": UNLIMITED, "per_user": UNLIMITED, "per_issuer": UNLIMITED},
    "rc_third_party_invite": UNLIMITED,
    "rc_media_create": UNLIMITED,
    "remote_media_download_per_second": "1000M",
    "remote_media_download_burst_count": "10000M",
    "rc_presence": {"per_user": UNLIMITED},
    "rc_delayed_event_mgmt": UNLIMITED,
    "rc_room_creation": UNLIMITED,
    "rc_reports": UNLIMITED,
    "rc_user_directory": UNLIMITED,
    "rc_profile": UNLIMITED,
    "federation_rr_transactions_per_room_per_second": 10_000,
    # Above `sleep_limit` requests in `window_size` ms each would wait `sleep_delay` ms.
    "rc_federation": {
        "window_size": 1000,
        "sleep_limit": 10_000,
        "sleep_delay": 10,
        "reject_limit": 100_000,
        "concurrent": 100,
    },
}

# Homeservers, application services, push gateways and pages under test are in private networks.
PRIVATE_ADDRESSES: dict[str, Any] = {
    "ip_range_blacklist": [],
    "federation_ip_range_blacklist": [],
    "url_preview_ip_range_blacklist": [],
}

# Experimental features that have tests. Other experiments of Synapse change its responses to old
# clients, so they stay off.
EXPERIMENTS: dict[str, bool] = {
    # Polls.
    "msc3381_polls_enabled": True,
    # Settings of one device's notifications, and account data that can be deleted.
    "msc3890_enabled": True,
    "msc3391_enabled": True,
    # /messages filtered by relation.
    "msc3874_enabled": True,
    # Application services: to-device messages, device lists and one-time keys; acting as a device
    # of a user needs no switch any more; requests for keys passed on to them.
    "msc2409_to_device_messages_enabled": True,
    "msc3202_transaction_extensions": True,
    "msc3983_appservice_otk_claims": True,
    "msc3984_appservice_key_query": True,
    # Invitations filtered by whom they come from.
    "msc4155_enabled": True,
    # state_after in /sync.
    "msc4222_enabled": True,
    # Subscriptions to threads.
    "msc4306_enabled": True,
    # Sticky events.
    "msc4354_enabled": True,
}


def options(settings: Settings) -> dict[str, Any]:
    """Synapse's options in test mode, but for those that a variable gives."""
    values: dict[str, Any] = {
        **RATE_LIMITS,
        **PRIVATE_ADDRESSES,
        "experimental_features": EXPERIMENTS,
        # Delayed events are on where there is a longest delay.
        "max_event_delay_duration": "24h",
        # Nobody else's server is asked for keys: most of those under test are known to nobody.
        "trusted_key_servers": [],
        # The fewest that bcrypt has: hashing is most of the time that a registration takes.
        "bcrypt_rounds": 4,
        "url_preview_enabled": True,
        # Tests publish rooms; without a rule Synapse lets nobody do so.
        "room_list_publication_rules": [{"action": "allow"}],
        "allow_device_name_lookup_over_federation": True,
        "server_notices": {
            "system_mxid_localpart": "_server",
            "system_mxid_display_name": "Server Alert",
            "system_mxid_avatar_url": "",
            "room_name": "Server Alert",
        },
        # A new database's updates take 40 s with the pauses between them; before they are done the
        # user directory knows nobody.
        "background_updates": {"sleep_enabled": False},
    }
    if test_mode.makes_certificate(settings):
        # The root alone: Synapse reads only the first certificate of a file.
        values["federation_custom_ca_list"] = [settings.paths.complement_root]
    elif settings.authority is not None:
        values["federation_custom_ca_list"] = [f"{settings.authority}/ca.crt"]
    if "SYNAPSE_ENABLE_REGISTRATION" not in settings.given:
        values["enable_registration"] = True
        values["enable_registration_without_verification"] = True
    if settings.public_baseurl is None:
        values["public_baseurl"] = f"http://127.0.0.1:{settings.http_port}/"
    return values
