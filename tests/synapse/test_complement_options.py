"""Test mode sets every option that Synapse's own image for Complement sets.

The facts are from docker/complement/conf of Synapse's repository, at release 1.163. Complement's
tests are written against that image, so an option that differs is a test that fails.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from ganglion.plan import render
from ganglion.programs.synapse.options import config_paths
from ganglion.settings import environment, test_mode
from tests.plans import no_file, options, plan_of
from tests.synapse.test_test_options import config_of, flat

AUTHORITY = ("/complement/ca/ca.crt", "/complement/ca/ca.key")
# A rate limit there is high; ours must be as high.
HIGH = 1000
# The options that must be equal, by the path to each.
EQUAL: Mapping[str, Any] = {
    "public_baseurl": "http://127.0.0.1:8008/",
    "report_stats": False,
    "trusted_key_servers": [],
    "enable_registration": True,
    "enable_registration_without_verification": True,
    "bcrypt_rounds": 4,
    "url_preview_enabled": True,
    "url_preview_ip_range_blacklist": [],
    "federation_ip_range_blacklist": [],
    "allow_device_name_lookup_over_federation": True,
    "experimental_features.msc3381_polls_enabled": True,
    "experimental_features.msc3890_enabled": True,
    "experimental_features.msc3391_enabled": True,
    "experimental_features.msc3874_enabled": True,
    "experimental_features.msc2409_to_device_messages_enabled": True,
    "experimental_features.msc3202_transaction_extensions": True,
    "experimental_features.msc3983_appservice_otk_claims": True,
    "experimental_features.msc3984_appservice_key_query": True,
    "experimental_features.msc4155_enabled": True,
    "experimental_features.msc4306_enabled": True,
    "experimental_features.msc4354_enabled": True,
    "experimental_features.msc4222_enabled": True,
    "server_notices.system_mxid_localpart": "_server",
    "server_notices.system_mxid_display_name": "Server Alert",
    "server_notices.system_mxid_avatar_url": "",
    "server_notices.room_name": "Server Alert",
    "max_event_delay_duration": "24h",
    "caches.sync_response_cache_duration": 0,
    "room_list_publication_rules": [{"action": "allow"}],
}
# The options that lift a limit, each with the two numbers of a rate.
RATES = (
    "rc_message",
    "rc_registration",
    "rc_login.address",
    "rc_login.account",
    "rc_login.failed_attempts",
    "rc_joins.local",
    "rc_joins.remote",
    "rc_joins_per_room",
    "rc_3pid_validation",
    "rc_invites.per_room",
    "rc_invites.per_user",
    "rc_invites.per_issuer",
    "rc_presence.per_user",
    "rc_delayed_event_mgmt",
    "rc_room_creation",
    "rc_user_directory",
)
# Set there and not here, with the reason. A test below proves each reason.
UNREAD = (
    "experimental_features.msc3967_enabled",
    "experimental_features.msc3202_device_masquerading",
)
DEFAULTS_TO_RC_MESSAGE = "rc_admin_redaction"


def at(values: Mapping[str, Any], path: str) -> Any:
    """The value of an option, by its path."""
    found: Any = values
    for name in path.split("."):
        assert name in found, f"{path} is not set"
        found = found[name]
    return found


@pytest.fixture(scope="module")
def processes() -> dict[str, dict[str, Any]]:
    """The files of each process together: a later file replaces whole options."""
    environ = {"SERVER_NAME": "hs1", "SYNAPSE_COMPLEMENT_USE_WORKERS": "true"}
    plan = plan_of(environment.from_environ(environ, no_file, AUTHORITY.__contains__))
    files = {file.path: file for file in render(plan)}
    found = {}
    for process in plan.topology.processes:
        values: dict[str, Any] = {}
        for path in config_paths(plan.settings, plan.operator, process):
            values |= options(files, path.removeprefix(f"{plan.settings.paths.conf}/"))
        found[process.name] = values
    assert len(found) == 17
    return found


@pytest.mark.parametrize("path", EQUAL)
def test_every_process_has_the_option(processes: dict[str, dict[str, Any]], path: str) -> None:
    wrong = {
        name: at(values, path)
        for name, values in processes.items()
        if at(values, path) != EQUAL[path]
    }
    assert wrong == {}


@pytest.mark.parametrize("path", RATES)
def test_every_process_has_a_limit_as_high(processes: dict[str, dict[str, Any]], path: str) -> None:
    for name, values in processes.items():
        limit = at(values, path)
        assert min(limit["per_second"], limit["burst_count"]) >= HIGH, name


def test_federation_is_slowed_no_sooner(processes: dict[str, dict[str, Any]]) -> None:
    for values in processes.values():
        limit = values["rc_federation"]
        assert limit["window_size"] == 1000
        assert limit["sleep_limit"] >= 10
        assert limit["sleep_delay"] <= 500
        assert limit["reject_limit"] >= 99_999
        assert limit["concurrent"] >= 3
        assert values["federation_rr_transactions_per_room_per_second"] >= 9999


def test_the_authority_and_the_secret_are_complements(
    processes: dict[str, dict[str, Any]],
) -> None:
    for values in processes.values():
        # The same certificate as /complement/ca/ca.crt, in a file with nothing else.
        assert values["federation_custom_ca_list"] == ["/data/complement/authority.crt"]
    assert test_mode.SHARED_SECRET == "complement"


@pytest.mark.parametrize("path", UNREAD)
def test_synapse_does_not_read_the_options_that_are_left_out(
    processes: dict[str, dict[str, Any]], path: str
) -> None:
    ours = processes["main"]["experimental_features"]
    assert path.split(".")[1] not in ours
    more = {**ours, path.split(".")[1]: True}
    with_it, without = (flat(config_of({"experimental_features": found})) for found in (more, ours))
    assert with_it == without


def test_redactions_by_administrators_have_the_limit_of_messages() -> None:
    limits = config_of({"rc_message": {"per_second": 10_000, "burst_count": 10_000}}).ratelimiting
    # None means that rc_message applies.
    assert getattr(limits, DEFAULTS_TO_RC_MESSAGE) is None
