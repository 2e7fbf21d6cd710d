"""Test mode: what switches it on, what it changes, and that nothing of it is there without it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import pytest
from synapse.config.homeserver import HomeServerConfig

from ganglion.programs.synapse import test_options
from ganglion.settings import environment, test_mode
from ganglion.settings.parsers import ALL_NETWORKS
from ganglion.settings.variables import Settings
from tests.plans import no_file, options, problems, rendered, said, settings

AUTHORITY = ("/complement/ca/ca.crt", "/complement/ca/ca.key")


def looking(*paths: str) -> Callable[[str], bool]:
    return set(paths).__contains__


def read(environ: Mapping[str, str], *there: str) -> Settings:
    return environment.from_environ(environ, no_file, looking(*there))


@pytest.mark.parametrize("word", ["yes", "1", "True", "on"])
def test_the_variable_switches_it_on(word: str) -> None:
    found = read({"GANGLION_TEST_MODE": word})
    assert found.test_mode
    assert (found.authority, found.tls) == (None, False)


def test_complements_authority_switches_it_on_and_gives_a_certificate() -> None:
    found = read({}, *AUTHORITY)
    assert found.test_mode
    assert found.authority == "/complement/ca"
    assert (found.tls_cert, found.tls_key) == (
        "/data/complement/server.crt",
        "/data/complement/server.key",
    )
    assert test_mode.own_certificate(found)


@pytest.mark.parametrize("there", [(), AUTHORITY[:1], AUTHORITY[1:], ("/complement/ca",)])
def test_half_an_authority_is_none(there: tuple[str, ...]) -> None:
    assert read({}, *there) == Settings()


def test_the_variable_has_the_last_word() -> None:
    found = read({"GANGLION_TEST_MODE": "no", "SERVER_NAME": "hs1"}, *AUTHORITY)
    assert found == Settings(given=frozenset({"GANGLION_TEST_MODE"}))
    # A word that is no answer is a problem, and no yes.
    assert problems(lambda: read({"GANGLION_TEST_MODE": "perhaps"}, *AUTHORITY)) == [
        said("GANGLION_TEST_MODE='perhaps'", "is neither yes nor no", "write yes or no")
    ]


def test_another_place_for_the_authority() -> None:
    found = read({"GANGLION_COMPLEMENT": "/srv/c/"}, "/srv/c/ca/ca.crt", "/srv/c/ca/ca.key")
    assert found.authority == "/srv/c/ca"
    assert not read({"GANGLION_COMPLEMENT": "/srv/c"}, *AUTHORITY).test_mode


def test_the_name_that_complement_gives_counts_in_test_mode_alone() -> None:
    assert read({"SERVER_NAME": "hs1"}).server_name == "localhost"
    assert read({"SERVER_NAME": "hs1"}, *AUTHORITY).server_name == "hs1"
    both = {"SERVER_NAME": "hs1", "SYNAPSE_SERVER_NAME": "hs2"}
    assert problems(lambda: read(both, *AUTHORITY)) == [
        said(
            "SYNAPSE_SERVER_NAME and SERVER_NAME",
            "are two names of one variable, set to different values",
            "set only SYNAPSE_SERVER_NAME",
        )
    ]
    assert read(both).server_name == "hs2"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SYNAPSE_COMPLEMENT_USE_WORKERS", "true"),
        ("SYNAPSE_COMPLEMENT_DATABASE", "sqlite"),
        ("SYNAPSE_COMPLEMENT_USE_ASYNCIO_REACTOR", "true"),
    ],
)
def test_what_only_tests_have_is_refused_elsewhere(name: str, text: str) -> None:
    assert problems(lambda: read({name: text})) == [
        said(
            f"{name}={text!r}",
            "is for test mode, which is off",
            "set GANGLION_TEST_MODE=yes for a server that is only for tests, else unset it",
        )
    ]
    assert read({name: text}, *AUTHORITY).test_mode
    assert read({name: ""}) == Settings()


@pytest.mark.parametrize(
    ("environ", "workers"),
    [
        ({}, "none"),
        ({"SYNAPSE_COMPLEMENT_USE_WORKERS": "1"}, "complement"),
        ({"SYNAPSE_COMPLEMENT_USE_WORKERS": "1", "WORKERS": "small"}, "small"),
        ({"WORKERS": "auto"}, "auto"),
    ],
)
def test_workers(environ: Mapping[str, str], workers: str) -> None:
    assert read(environ, *AUTHORITY).workers == workers


def test_the_database() -> None:
    assert read({"SYNAPSE_COMPLEMENT_DATABASE": "postgres"}, *AUTHORITY).embedded_postgres
    found = read({"SYNAPSE_COMPLEMENT_DATABASE": "sqlite"}, *AUTHORITY)
    assert found.sqlite == "/data/sqlite/homeserver.db"
    assert not found.embedded_postgres
    both = {
        "SYNAPSE_COMPLEMENT_DATABASE": "sqlite",
        "POSTGRES_HOST": "db",
        "POSTGRES_PASSWORD": "x",
    }
    assert problems(lambda: read(both, *AUTHORITY)) == [
        said(
            "SYNAPSE_COMPLEMENT_DATABASE='sqlite'",
            "is set, and so is POSTGRES_HOST",
            "unset one of them",
        )
    ]


def test_what_lies_where_complement_puts_it() -> None:
    there = (*AUTHORITY, "/complement/appservice", "/conf/homeserver.d")
    found = read({}, *there)
    assert found.as_registration_dir == "/complement/appservice"
    assert found.extra_configuration == "/conf/homeserver.d"
    own = read({"SYNAPSE_AS_REGISTRATION_DIR": "/own"}, *there)
    assert own.as_registration_dir == "/own"
    off = read({"GANGLION_TEST_MODE": "no"}, *there)
    assert (off.as_registration_dir, off.extra_configuration) == (None, None)


def test_whatever_a_variable_says_is_kept() -> None:
    given = {
        "GANGLION_ADMIN_NETWORKS": "10.0.0.0/8",
        "SYNAPSE_TLS_CERT": "/cert",
        "SYNAPSE_TLS_KEY": "/key",
    }
    found = read(given, *AUTHORITY)
    assert found.admin_networks == ("10.0.0.0/8",)
    assert (found.tls_cert, found.tls_key) == ("/cert", "/key")
    assert not test_mode.own_certificate(found)
    assert read({}, *AUTHORITY).admin_networks == ALL_NETWORKS
    closed = {"GANGLION_TEST_MODE": "yes", "SYNAPSE_ENABLE_REGISTRATION": "no"}
    assert "enable_registration" not in test_options.options(settings(**closed))
    url = {"GANGLION_TEST_MODE": "yes", "SYNAPSE_PUBLIC_BASEURL": "https://example.org"}
    assert "public_baseurl" not in test_options.options(settings(**url))


def test_it_is_said_aloud() -> None:
    assert test_mode.says(settings()) == ()
    first, *rest = test_mode.says(settings(GANGLION_TEST_MODE="yes"))
    assert first == "TEST MODE, as GANGLION_TEST_MODE=yes: NOT FOR REAL USERS"
    assert rest[0].endswith("make administrators with the registration secret 'complement'")
    assert all(line.startswith("TEST MODE: ") for line in rest)
    assert test_mode.says(read({}, *AUTHORITY))[0] == (
        "TEST MODE, as Complement's authority is in /complement/ca: NOT FOR REAL USERS"
    )
    own = {"GANGLION_TEST_MODE": "yes", "SYNAPSE_REGISTRATION_SHARED_SECRET": "hush"}
    assert "hush" not in "".join(test_mode.says(settings(**own)))


def test_nothing_of_it_is_rendered_without_it() -> None:
    files = rendered({"WORKERS": "small"})
    assert "synapse/test_options.yaml" not in files
    text = "".join(file.content for file in files.values())
    assert not re.search(r"fsync|bcrypt_rounds|rc_message|blacklist|testing\.yaml", text)
    assert "GANGLION_TEST_MODE" not in text


def config_of(values: Mapping[str, Any]) -> Any:
    """What Synapse reads out of options."""
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
    """A configuration as texts by their places."""
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


# Old ways of Twisted's own, seen when Synapse is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def without(values: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The options without one, or without one of those in it."""
    first, *rest = path
    if not rest:
        return {key: item for key, item in values.items() if key != first}
    return {**values, first: without(values[first], tuple(rest))}


def places(values: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Each option, and each that is in another where Synapse looks for it by its name."""
    nested = ("experimental_features", "rc_login", "rc_joins", "rc_invites", "rc_presence")
    found: list[tuple[str, ...]] = []
    for name, value in values.items():
        inside = [(name, key) for key in value] if name in nested else [(name,)]
        found.extend(inside)
    return found


@pytest.mark.parametrize("place", places(every()), ids=".".join)
def test_synapse_reads_each_option_and_it_changes_something(place: tuple[str, ...]) -> None:
    """With an option that Synapse does not know, it would read the same without it."""
    # What Synapse would refuse by itself is left out with it.
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


def test_every_rate_limit_of_synapse_is_lifted() -> None:
    limits = vars(config_of(every()).ratelimiting)
    found = {name: limit for name, limit in limits.items() if hasattr(limit, "per_second")}
    assert len(found) > 15
    assert {name for name, limit in found.items() if limit.per_second < 1000} == set()
    assert {name for name, limit in found.items() if limit.burst_count < 1000} == set()
    rest = {name for name in limits if name.startswith(("rc_", "remote_"))} - set(found)
    assert rest == {"rc_admin_redaction", "rc_federation"}
    assert limits["rc_federation"].reject_limit >= 1000


def test_a_sync_is_never_answered_from_before() -> None:
    files = rendered({"GANGLION_TEST_MODE": "yes", "WORKERS": "synchrotron"})
    for path in ("synapse/underrides.yaml", "synapse/workers/synchrotron1.yaml"):
        assert options(files, path)["caches"]["sync_response_cache_duration"] == 0


def test_the_fields_that_follow_are_no_variables() -> None:
    """They are worked out; nobody can set them."""
    derived = {"authority", "extra_configuration", "sqlite", "given", "repeats_add_up"}
    assert {item.name for item in fields(Settings) if "variable" not in item.metadata} == derived
