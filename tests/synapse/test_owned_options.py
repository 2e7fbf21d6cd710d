"""The table of owned options against the options that the installed Synapse reads.

Each option of the sections that decide which process does what, where it listens and how it is
supervised is either in the table or listed here as passed through. A new option of Synapse's fails
here until somebody decides.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import synapse.config

from ganglion.settings.owned_options import BY_OPTION

HERE = Path(synapse.config.__file__).parent
# Options that are the same for every process and mean what the operator says.
PASSED_THROUGH = {
    "workers": {"worker_replication_secret", "worker_replication_secret_path"},
    "redis": set[str](),
    "database": set[str](),
    "logger": set[str](),
    "metrics": {"metrics_flags", "report_stats", "report_stats_endpoint", "sentry"},
    "federation": {
        "allow_device_name_lookup_over_federation",
        "allow_profile_lookup_over_federation",
        "federation",
        "federation_domain_whitelist",
        "federation_metrics_domains",
        "federation_whitelist_endpoint_enabled",
    },
    "tls": {
        "federation_certificate_verification_whitelist",
        "federation_client_minimum_tls_version",
        "federation_custom_ca_list",
        "federation_verify_certificates",
        "use_insecure_ssl_client_just_for_testing_do_not_use",
    },
    "repository": {
        "backup_media_store_path",
        "dynamic_thumbnails",
        "enable_authenticated_media",
        "enable_local_media_storage",
        "max_image_pixels",
        "max_pending_media_uploads",
        "max_spider_size",
        "max_upload_size",
        "media_retention",
        "media_storage_providers",
        "media_store_path",
        "media_upload_limits",
        "prevent_media_downloads_from",
        "synchronous_backup_media_store",
        "thumbnail_sizes",
        "unused_expiration_time",
        "url_preview_accept_language",
        "url_preview_enabled",
        "url_preview_ip_range_blacklist",
        "url_preview_ip_range_whitelist",
        "url_preview_url_blacklist",
    },
    "server": {
        "admin_contact",
        "allow_per_room_profiles",
        "allow_public_rooms_over_federation",
        "allow_public_rooms_without_auth",
        "allowed_avatar_mimetypes",
        "block_non_admin_invites",
        "cleanup_extremities_with_dummy_events",
        "default_room_version",
        "delete_stale_devices_after",
        "dummy_events_threshold",
        "enable_ephemeral_messages",
        "enable_search",
        "exclude_rooms_from_presence",
        "exclude_rooms_from_sync",
        "experimental_features",
        "extra_well_known_client_content",
        "federation_ip_range_blacklist",
        "filter_timeline_limit",
        "forgotten_room_retention_period",
        "gc_min_interval",
        "gc_thresholds",
        "hs_disabled",
        "hs_disabled_message",
        "http_proxy",
        "https_proxy",
        "include_profile_data_on_invite",
        "include_profile_updates_in_sync",
        "ip_range_blacklist",
        "ip_range_whitelist",
        "limit_profile_requests_to_users_who_share_rooms",
        "limit_remote_rooms",
        "limit_usage_by_mau",
        "manhole_settings",
        "mau_appservice_trial_days",
        "mau_limit_alerting",
        "mau_limit_reserved_threepids",
        "mau_stats_only",
        "mau_trial_days",
        "max_avatar_size",
        "max_event_delay_duration",
        "max_mau_value",
        "next_link_domain_whitelist",
        "no_proxy_hosts",
        "presence",
        "public_baseurl",
        "redaction_allowed_period",
        "redaction_retention_period",
        "replication_torture_level",
        "request_token_inhibit_3pid_errors",
        "require_auth_for_profile_requests",
        "require_membership_for_aliases",
        "restrict_public_rooms_to_local_users",
        "serve_server_wellknown",
        "server_context",
        "server_name",
        "soft_file_limit",
        "templates",
        "use_account_validity_in_account_status",
        "use_frozen_dicts",
        "use_presence",
        "user_agent_suffix",
        "user_ips_max_age",
        "web_client_location",
    },
}


def options_of(module: str) -> set[str]:
    """Return the options that a module of synapse.config reads out of `config`."""
    return set(_options(ast.parse((HERE / f"{module}.py").read_text(encoding="utf-8"))))


def _options(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            of_config = isinstance(node.func, ast.Attribute) and _is_config(node.func.value)
            passed_on = bool(node.args) and _is_config(node.args[0])
            if of_config and node.args:
                yield from _text(node.args[0])
            if passed_on:
                # Options by name, for a helper that reads them. Names of applications have dots.
                for argument in (*node.args[1:], *(item.value for item in node.keywords)):
                    yield from (text for text in _text(argument) if "." not in text)
        elif isinstance(node, ast.Subscript) and _is_config(node.value):
            yield from _text(node.slice)
        elif isinstance(node, ast.Compare) and _is_config(node.comparators[0]):
            yield from _text(node.left)


def _is_config(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "config"


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


@pytest.mark.parametrize("module", PASSED_THROUGH)
def test_each_option_is_owned_or_passed_through_on_purpose(module: str) -> None:
    found = options_of(module)
    assert found, "nothing is read; has the parameter another name than config?"
    passed = PASSED_THROUGH[module]
    assert found - BY_OPTION.keys() - passed == set(), "decide: add a row, or pass it through"
    assert not passed & BY_OPTION.keys()
    assert passed <= found, "Synapse reads these no more"


def test_the_helpers_of_workers_are_seen() -> None:
    assert {"start_pushers", "notify_appservices_from_worker"} <= options_of("workers")


def test_each_row_is_an_option_of_synapse() -> None:
    everywhere = set[str]().union(*(options_of(path.stem) for path in HERE.glob("*.py")))
    assert BY_OPTION.keys() - everywhere == OLD


# Options of older versions of Synapse, which files still have.
OLD: set[str] = set()
