"""Synapse knows every option of test mode, and each one changes something."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from synapse.config.homeserver import HomeServerConfig

from ganglion.programs.synapse import test_options
from tests.plans import settings


def config_of(values: Mapping[str, Any]) -> Any:
    """Parse options as Synapse does."""
    config = HomeServerConfig()
    config.parse_config_dict(
        {
            "server_name": "hs1",
            "report_stats": False,
            "macaroon_secret_key": "x",
            "form_secret": "x",
            "signing_key": f"ed25519 a_test {'A' * 43}",
            "suppress_key_server_warning": True,
            **values,
        },
        config_dir_path="/nowhere",
        data_dir_path="/nowhere",
        allow_secrets_in_config=True,
    )
    return config


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Return the values of a configuration as texts, by their paths."""
    if isinstance(value, Mapping):
        items = {str(key): item for key, item in value.items()}
    elif hasattr(value, "__dict__") and type(value).__module__.startswith("synapse"):
        items = {key: item for key, item in vars(value).items() if key != "root"}
    elif hasattr(value, "__attrs_attrs__"):
        items = {item.name: getattr(value, item.name) for item in value.__attrs_attrs__}
    else:
        return {path: re.sub(r" at 0x\w+", "", str(value))}
    found: dict[str, str] = {}
    for key, item in items.items():
        found |= flat(item, f"{path}.{key}")
    return found


def every() -> dict[str, Any]:
    return test_options.options(settings(GANGLION_TEST_MODE="yes"))


def without(values: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the options without the one at a path."""
    first, *rest = path
    if not rest:
        return {key: item for key, item in values.items() if key != first}
    return {**values, first: without(values[first], tuple(rest))}


def places(values: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the paths of all options, including nested ones that Synapse reads by name."""
    nested = ("experimental_features", "rc_login", "rc_joins", "rc_invites", "rc_presence")
    found: list[tuple[str, ...]] = []
    for name, value in values.items():
        inside = [(name, key) for key in value] if name in nested else [(name,)]
        found.extend(inside)
    return found


@pytest.mark.parametrize("place", places(every()), ids=".".join)
def test_each_option_changes_synapses_configuration(place: tuple[str, ...]) -> None:
    """An option that Synapse does not know would change nothing."""
    # Remove options that Synapse rejects without this one too.
    values = every()
    if place == ("enable_registration_without_verification",):
        values["enable_registration"] = False
    if place == ("experimental_features", "msc3391_enabled"):
        values = without(values, ("experimental_features", "msc3890_enabled"))
    fewer = without(values, place)
    if place == ("url_preview_ip_range_blacklist",):
        values["url_preview_ip_range_blacklist"] = ["192.0.2.0/24"]
        fewer = without({**values, "url_preview_enabled": False}, place)
    assert flat(config_of(values)) != flat(config_of(fewer))


def test_every_rate_limit_of_synapse_is_raised() -> None:
    limits = vars(config_of(every()).ratelimiting)
    found = {name: limit for name, limit in limits.items() if hasattr(limit, "per_second")}
    assert len(found) > 15
    assert {name for name, limit in found.items() if limit.per_second < 1000} == set()
    assert {name for name, limit in found.items() if limit.burst_count < 1000} == set()
    rest = {name for name in limits if name.startswith(("rc_", "remote_"))} - set(found)
    assert rest == {"rc_admin_redaction", "rc_federation"}
    assert limits["rc_federation"].reject_limit >= 1000
