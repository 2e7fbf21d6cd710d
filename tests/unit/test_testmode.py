"""Test mode: what switches it on, what it changes, and that nothing of it is there without it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields

import pytest

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


def test_a_sync_is_never_answered_from_before() -> None:
    files = rendered({"GANGLION_TEST_MODE": "yes", "WORKERS": "synchrotron"})
    for path in ("synapse/underrides.yaml", "synapse/workers/synchrotron1.yaml"):
        assert options(files, path)["caches"]["sync_response_cache_duration"] == 0


def test_the_fields_that_follow_are_no_variables() -> None:
    """They are worked out; nobody can set them."""
    derived = {"authority", "extra_configuration", "sqlite", "given", "repeats_add_up"}
    assert {item.name for item in fields(Settings) if "variable" not in item.metadata} == derived
