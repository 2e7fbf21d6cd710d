"""Secrets: given, kept or made, and in no file but their own."""

import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from signedjson.key import read_signing_keys

from ganglion.data.secrets import keep_secrets
from ganglion.errors import ConfigError
from ganglion.files.file import SECRET
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.parsers import secret, signing_key
from ganglion.settings.secrets import GENERATED, GIVEN, PLACEHOLDER, Secrets, generate, placeholders
from ganglion.settings.variables import Settings
from tests.plans import rendered, settings


def keep(data: Path, **environ: str) -> Secrets:
    (data / "secrets").mkdir(exist_ok=True)
    return keep_secrets(settings(GANGLION_DATA=str(data), **environ), OperatorFiles())


def test_a_new_secret_is_long_and_unlike_every_other() -> None:
    made = {generate() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", text) and secret(text) for text in made)


def test_each_is_made_once_and_kept_for_us_alone(tmp_path: Path) -> None:
    first = keep(tmp_path)
    assert keep(tmp_path) == first
    texts = {name: text for name, text in asdict(first).items() if name not in GIVEN}
    assert len(set(texts.values())) == len(texts)
    paths = [tmp_path / "secrets" / name for name in GENERATED]
    paths.append(tmp_path / "localhost.signing.key")
    assert [path.read_text() for path in paths] == [f"{text}\n" for text in texts.values()]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(paths)


def test_an_empty_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A disk that was full leaves one, and everyone could guess it."""
    keep(tmp_path)
    path = tmp_path / "secrets" / "registration_shared_secret"
    for text in ("", " \n"):
        path.write_text(text)
        with pytest.raises(ConfigError) as raised:
            keep(tmp_path)
        assert f"{path}: is empty, which everyone could guess" in str(raised.value)
        assert path.read_text() == text
    path.unlink()
    assert keep(tmp_path).registration_shared_secret


def test_the_signing_key_is_one_that_synapse_reads(tmp_path: Path) -> None:
    text = keep(tmp_path).signing_key
    assert signing_key(text) == text
    (key,) = read_signing_keys([text])
    assert re.fullmatch(r"a_\w{6}", key.version)


def test_the_signing_key_is_of_the_server_name(tmp_path: Path) -> None:
    one = keep(tmp_path, SYNAPSE_SERVER_NAME="one.example")
    assert one.signing_key != keep(tmp_path, SYNAPSE_SERVER_NAME="two.example").signing_key
    named = OperatorFiles(options={"server_name": "one.example"})
    assert keep_secrets(Settings(data=str(tmp_path)), named).signing_key == one.signing_key


def test_one_that_is_given_is_used_and_not_written(tmp_path: Path) -> None:
    key = f"ed25519 a_AbCd {'B' * 43}"
    variables = {f"SYNAPSE_{name.upper()}": f"given-{name}" for name in GENERATED[:4]}
    variables |= {"REDIS_PASSWORD": "given-redis", "POSTGRES_PASSWORD": "given-postgres"}
    kept = keep(tmp_path, **variables, SYNAPSE_SIGNING_KEY=key)
    assert asdict(kept) == {
        **dict.fromkeys(GIVEN, ""),
        **{name: f"given-{name}" for name in GENERATED[:4]},
        "redis_password": "given-redis",
        "postgres_password": "given-postgres",
        "signing_key": key,
    }
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_shown_has_words_for_all_of_them() -> None:
    assert set(asdict(placeholders()).values()) == {PLACEHOLDER}
    assert [field.name for field in fields(Secrets)] == [*GENERATED, "signing_key", *GIVEN]


def test_what_synapses_image_left_is_kept(tmp_path: Path) -> None:
    (tmp_path / "localhost.registration.key").write_text("left-registration\n")
    (tmp_path / "localhost.macaroon.key").write_text("left-macaroon")
    kept = keep(tmp_path)
    assert (kept.registration_shared_secret, kept.macaroon_secret_key) == (
        "left-registration",
        "left-macaroon",
    )
    (tmp_path / "localhost.macaroon.key").unlink()
    assert keep(tmp_path) == kept
    assert keep(tmp_path, SYNAPSE_MACAROON_SECRET_KEY="given").macaroon_secret_key == "given"


def test_what_the_operators_files_give_is_known_and_not_kept(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("in-a-file\n")
    (tmp_path / "key").write_text(f"ed25519 a_theirs {'C' * 43}\n")
    options = {
        "registration_shared_secret": "inline",
        "form_secret_path": str(tmp_path / "secret"),
        "macaroon_secret_key_path": "/no/such/file",
        "signing_key_path": str(tmp_path / "key"),
    }
    (tmp_path / "secrets").mkdir()
    chosen = Settings(data=str(tmp_path), registration_shared_secret="by a variable")
    found = keep_secrets(chosen, OperatorFiles(options=options))
    assert found.registration_shared_secret == "inline"
    assert found.form_secret == "in-a-file"
    assert found.signing_key == f"ed25519 a_theirs {'C' * 43}"
    kept = {path.name for path in (tmp_path / "secrets").iterdir()}
    assert kept == set(GENERATED) - {"registration_shared_secret", "form_secret"}
    assert not list(tmp_path.glob("*.signing.key"))


def test_everybody_knows_the_registration_secret_of_a_server_for_tests(tmp_path: Path) -> None:
    made = keep(tmp_path).registration_shared_secret
    tests = {"GANGLION_TEST_MODE": "yes"}
    assert keep(tmp_path, **tests).registration_shared_secret == "complement"
    other = keep(tmp_path, SYNAPSE_REGISTRATION_SHARED_SECRET="own", **tests)
    assert other.registration_shared_secret == "own"
    assert keep(tmp_path).registration_shared_secret == made


SECRETS = {
    "POSTGRES_PASSWORD": "hush-postgres",
    "REDIS_PASSWORD": "hush-redis",
    "SYNAPSE_SIGNING_KEY": f"ed25519 a_AbCd {'B' * 43}",
    "SYNAPSE_MACAROON_SECRET_KEY": "hush-macaroon",
    "SYNAPSE_FORM_SECRET": "hush-form",
    "SYNAPSE_REGISTRATION_SHARED_SECRET": "hush-registration",
    "SYNAPSE_WORKER_REPLICATION_SECRET": "hush-replication",
    "SYNAPSE_TURN_SECRET": "hush-turn",
    "SYNAPSE_RECAPTCHA_PRIVATE_KEY": "hush-recaptcha",
}
EXTERNAL = {"POSTGRES_HOST": "db", "REDIS_HOST": "redis"}


def test_a_secret_is_only_in_files_that_nobody_else_reads() -> None:
    for environ in (SECRETS, SECRETS | EXTERNAL):
        files = rendered(environ)
        for text in SECRETS.values():
            holding = [file for file in files.values() if text in file.content]
            assert holding
            assert {(file.mode, bool(file.program)) for file in holding} == {(SECRET, True)}


def test_an_external_redis_without_a_password_is_given_none() -> None:
    files = rendered({"REDIS_HOST": "redis"})
    assert "secrets/redis_password" not in files
    assert "password_path" not in files["synapse/overrides.yaml"].content
