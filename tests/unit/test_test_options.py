"""The options of test mode. tests/synapse checks them against Synapse."""

import re

from ganglion.programs.synapse import test_options
from tests.plans import options, rendered, settings


def test_nothing_is_rendered_outside_test_mode() -> None:
    files = rendered({"WORKERS": "small"})
    assert "synapse/testing.yaml" not in files
    text = "".join(file.content for file in files.values())
    assert not re.search(r"fsync|bcrypt_rounds|rc_message|blacklist|testing\.yaml", text)
    assert "GANGLION_TEST_MODE" not in text


def test_sync_responses_are_not_cached() -> None:
    files = rendered({"GANGLION_TEST_MODE": "yes", "WORKERS": "synchrotron"})
    for path in ("synapse/underrides.yaml", "synapse/workers/synchrotron1.yaml"):
        assert options(files, path)["caches"]["sync_response_cache_duration"] == 0


def test_variables_override_options() -> None:
    closed = {"GANGLION_TEST_MODE": "yes", "SYNAPSE_ENABLE_REGISTRATION": "no"}
    assert "enable_registration" not in test_options.options(settings(**closed))
    url = {"GANGLION_TEST_MODE": "yes", "SYNAPSE_PUBLIC_BASEURL": "https://example.org"}
    assert "public_baseurl" not in test_options.options(settings(**url))
