"""Test mode is on if the variable or Complement's authority says so, and changes the settings."""

from collections.abc import Callable, Mapping
from dataclasses import fields

import pytest

from ganglion.settings import environment, test_mode
from ganglion.settings.parsers import ALL_NETWORKS
from ganglion.settings.variables import Settings
from tests.plans import no_file, problems, said, settings

AUTHORITY = ("/complement/ca/ca.crt", "/complement/ca/ca.key")


def existing(*paths: str) -> Callable[[str], bool]:
    return set(paths).__contains__


def read(environ: Mapping[str, str], *paths: str) -> Settings:
    """Read settings where something exists at these paths."""
    return environment.from_environ(environ, no_file, existing(*paths))


@pytest.mark.parametrize("word", ["yes", "1", "True", "on"])
def test_the_variable_switches_it_on(word: str) -> None:
    found = read({"GANGLION_TEST_MODE": word})
    assert found.test_mode
    assert (found.authority, found.tls) == (None, False)


def test_complements_authority_switches_it_on_and_signs_a_certificate() -> None:
    found = read({}, *AUTHORITY)
    assert found.test_mode
    assert found.authority == "/complement/ca"
    assert (found.tls_cert, found.tls_key) == (
        "/data/complement/server.crt",
        "/data/complement/server.key",
    )
    assert test_mode.makes_certificate(found)


@pytest.mark.parametrize("there", [(), AUTHORITY[:1], AUTHORITY[1:], ("/complement/ca",)])
def test_an_incomplete_authority_is_ignored(there: tuple[str, ...]) -> None:
    assert read({}, *there) == Settings()


def test_the_variable_overrides_the_authority() -> None:
    found = read({"GANGLION_TEST_MODE": "no", "SERVER_NAME": "hs1"}, *AUTHORITY)
    assert found == Settings(given=frozenset({"GANGLION_TEST_MODE"}))
    # An invalid word is a problem and does not mean yes.
    assert problems(lambda: read({"GANGLION_TEST_MODE": "perhaps"}, *AUTHORITY)) == [
        said("GANGLION_TEST_MODE='perhaps'", "is neither yes nor no", "write yes or no")
    ]


def test_the_authority_can_be_in_another_place() -> None:
    found = read({"GANGLION_COMPLEMENT": "/srv/c/"}, "/srv/c/ca/ca.crt", "/srv/c/ca/ca.key")
    assert found.authority == "/srv/c/ca"
    assert not read({"GANGLION_COMPLEMENT": "/srv/c"}, *AUTHORITY).test_mode


def test_server_name_is_an_alias_in_test_mode_only() -> None:
    assert read({"SERVER_NAME": "hs1"}).server_name == "localhost"
    assert read({"SERVER_NAME": "hs1"}, *AUTHORITY).server_name == "hs1"
    both = {"SERVER_NAME": "hs1", "SYNAPSE_SERVER_NAME": "hs2"}
    assert problems(lambda: read(both, *AUTHORITY)) == [
        said(
            "SYNAPSE_SERVER_NAME and SERVER_NAME",
            "are names of the same variable but have different values",
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
def test_variables_for_test_mode_are_rejected_outside(name: str, text: str) -> None:
    assert problems(lambda: read({name: text})) == [
        said(
            f"{name}={text!r}",
            "is allowed in test mode only",
            f"unset {name}; or, on a test server, set GANGLION_TEST_MODE=yes",
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
def test_the_default_of_workers(environ: Mapping[str, str], workers: str) -> None:
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
            "is set together with POSTGRES_HOST",
            "unset one of the two",
        )
    ]


def test_the_directories_of_complement_are_used() -> None:
    there = (*AUTHORITY, "/complement/appservice", "/conf/homeserver.d")
    found = read({}, *there)
    assert found.as_registration_dir == "/complement/appservice"
    assert found.extra_configuration == "/conf/homeserver.d"
    own = read({"SYNAPSE_AS_REGISTRATION_DIR": "/own"}, *there)
    assert own.as_registration_dir == "/own"
    off = read({"GANGLION_TEST_MODE": "no"}, *there)
    assert (off.as_registration_dir, off.extra_configuration) == (None, None)


def test_variables_override_test_mode() -> None:
    given = {
        "GANGLION_ADMIN_NETWORKS": "10.0.0.0/8",
        "SYNAPSE_TLS_CERT": "/cert",
        "SYNAPSE_TLS_KEY": "/key",
    }
    found = read(given, *AUTHORITY)
    assert found.admin_networks == ("10.0.0.0/8",)
    assert (found.tls_cert, found.tls_key) == ("/cert", "/key")
    assert not test_mode.makes_certificate(found)
    assert read({}, *AUTHORITY).admin_networks == ALL_NETWORKS


def test_the_warnings() -> None:
    assert test_mode.warnings(settings()) == ()
    first, *rest = test_mode.warnings(settings(GANGLION_TEST_MODE="yes"))
    assert first == "TEST MODE (GANGLION_TEST_MODE=yes): NOT FOR REAL USERS"
    assert rest[0].endswith("create administrators with the registration secret 'complement'")
    assert all(line.startswith("TEST MODE: ") for line in rest)
    assert test_mode.warnings(read({}, *AUTHORITY))[0] == (
        "TEST MODE (Complement's certificate authority is in /complement/ca): NOT FOR REAL USERS"
    )
    own = {"GANGLION_TEST_MODE": "yes", "SYNAPSE_REGISTRATION_SHARED_SECRET": "hush"}
    assert "hush" not in "".join(test_mode.warnings(settings(**own)))


def test_derived_fields_have_no_variable() -> None:
    """They cannot be set."""
    derived = {"authority", "extra_configuration", "sqlite", "given", "secret_files"}
    derived.add("repeats_add_up")
    # settings/adoption.py takes these from the operator's files.
    derived |= {"postgres_args", "redis_path", "redis_args", "overridden"}
    # Only an export sets it.
    derived.add("etc")
    assert {item.name for item in fields(Settings) if "variable" not in item.metadata} == derived
