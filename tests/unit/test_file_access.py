"""Files that options name, tried with the rights of the account that will use them."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganglion.data.file_access import Use, make_missing, named_paths, paths_of, refusals
from ganglion.data.usable_files import usable
from ganglion.errors import ConfigError
from ganglion.settings.operator_files import OperatorFiles
from tests.plans import options, rendered, said

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")
NOBODY = "65534:65534"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that every account can enter: pytest's own are closed."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    return tmp_path


def tried(found: dict[str, Any], account: str | None = NOBODY, *, made: bool = True) -> list[str]:
    paths = paths_of(OperatorFiles(options=found))
    return [str(problem) for problem in refusals(paths, account, made=made)]


def test_every_kind_of_path_is_found() -> None:
    text = """
    signing_key_path: /a
    media_store_path: /b
    pid_file: /no
    log_config: /no
    app_service_config_files: [/c, /d]
    federation_custom_ca_list: [/e]
    email: {template_dir: /f, notif_from: "x"}
    templates: {custom_template_directory: /g}
    database: {name: psycopg2, args: {sslrootcert: /h, database: x}}
    redis: {path: /no, password_path: /no, ca_file: /i}
    oidc_providers:
      - client_secret_path: /j
        user_mapping_provider: {module: other.Provider, config: {secret_file: /no}}
    media_storage_providers:
      - {module: file_system, config: {directory: /k}}
      - {module: s3.Provider, config: {directory: /no, key_file: /no}}
    modules:
      - {module: other.Module, config: {template_dir: /no}}
    listeners: [{type: http, path: /no, port: 1}]
    turn_shared_secret_path: /l
    client_secret_jwt_key: {key_file: /m}
    """
    found = {named.path: named for named in named_paths(yaml.safe_load(text))}
    assert sorted(found) == [f"/{letter}" for letter in "abcdefghijklm"]
    assert found["/k"].option == "media_storage_providers.config.directory"
    assert {named.use for named in found.values()} == set(Use)


@pytest.mark.parametrize("value", [None, 3, True, ["x", 1], {"a": "b"}, [[["y"]]], ""])
def test_values_of_the_wrong_type_are_left_to_synapse(value: object) -> None:
    names = ("signing_key_path", "media_store_path", "app_service_config_files", "email")
    assert all(named.path for named in named_paths(dict.fromkeys(names, value)))


def test_a_missing_file() -> None:
    assert tried({"turn_shared_secret_path": "/nowhere/secret"}, None) == [
        said(
            "turn_shared_secret_path='/nowhere/secret'",
            "does not exist",
            "create it, or remove turn_shared_secret_path",
        )
    ]


@AS_ROOT
def test_a_file_of_another_account(place: Path) -> None:
    path = place / "secret"
    path.touch(mode=0o600)
    assert tried({"turn_shared_secret_path": str(path)}) == [
        said(
            f"turn_shared_secret_path={str(path)!r}",
            f"the account {NOBODY} cannot read it: it belongs to UID 0, with mode 0600",
            f"chown {NOBODY} {path}",
        )
    ]
    os.chown(path, 65534, 65534)
    assert tried({"turn_shared_secret_path": str(path)}) == []
    assert os.geteuid() == 0


@AS_ROOT
def test_a_directory_that_cannot_be_entered(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "secret").touch()
    problem = tried({"turn_shared_secret_path": f"{closed}/secret"})
    assert problem == [
        said(
            f"turn_shared_secret_path='{closed}/secret'",
            f"the account {NOBODY} cannot enter {closed}",
            f"chmod o+x {closed}",
        )
    ]


@pytest.mark.timeout(20)
def test_a_fifo_does_not_block(place: Path) -> None:
    os.mkfifo(place / "fifo")
    assert tried({"recaptcha_public_key_path": f"{place}/fifo"}, None) == [
        said(
            f"recaptcha_public_key_path='{place}/fifo'",
            "cannot be read: it is not a regular file",
            "give the path of a file",
        )
    ]


@AS_ROOT
def test_a_missing_media_store_is_made_for_the_account(place: Path) -> None:
    said_of: list[str] = []
    path = place / "volume" / "media"
    (place / "volume").mkdir()
    os.chown(place / "volume", 65534, 65534)
    paths = paths_of(OperatorFiles(options={"media_store_path": str(path)}))
    assert list(refusals(paths, NOBODY, made=False)) == []
    make_missing(paths, NOBODY, said_of.append)
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (65534, 0o750)
    assert said_of == [f"made {path} for media_store_path"]
    assert list(refusals(paths, NOBODY, made=True)) == []


@AS_ROOT
def test_root_makes_nothing_where_another_account_could_have_put_a_link(place: Path) -> None:
    theirs, target = place / "theirs", place / "target"
    theirs.mkdir()
    os.chown(theirs, 1000, 1000)
    target.mkdir(mode=0o700)
    (theirs / "link").symlink_to(target)
    for path in (theirs / "media", theirs / "link" / "media"):
        paths = paths_of(OperatorFiles(options={"media_store_path": str(path)}))
        make_missing(paths, NOBODY, pytest.fail)
        assert len(list(refusals(paths, NOBODY, made=True))) == 1
    assert list(target.iterdir()) == []


@AS_ROOT
def test_a_media_store_that_cannot_be_written(place: Path) -> None:
    (place / "media").mkdir(mode=0o755)
    assert tried({"media_store_path": f"{place}/media"}) == [
        said(
            f"media_store_path='{place}/media'",
            f"the account {NOBODY} cannot write to it: it belongs to UID 0, with mode 0755",
            f"chown {NOBODY} {place}/media",
        )
    ]


REGISTRATION = (
    "id: bridge\nas_token: a\nhs_token: b\nurl: null\nsender_localpart: x\nnamespaces: {}\n"
)


@AS_ROOT
def test_a_bridges_own_registration_is_copied_and_keeps_its_owner(place: Path) -> None:
    path = place / "registration.yaml"
    path.write_text(REGISTRATION)
    path.chmod(0o600)
    os.chown(path, 1337, 1337)
    operator = OperatorFiles(options={"app_service_config_files": [str(path)]})
    found = usable(operator, NOBODY, lambda _line: None, make=True)
    assert found.copies == {str(path): REGISTRATION}
    assert path.stat().st_uid == 1337
    files = rendered({"GANGLION_RUN": "/run/g"}, operator=found)
    copy = "appservices/1-registration.yaml"
    assert (files[copy].content, files[copy].mode) == (REGISTRATION, 0o600)
    overrides = options(files, "synapse/overrides.yaml")
    assert overrides["app_service_config_files"] == [f"/run/g/conf/{copy}"]


@AS_ROOT
@pytest.mark.parametrize("content", ["root:*:19000:0:99999:7:::\n", "a: b\n", "[", ""])
def test_a_file_that_is_no_registration_is_never_copied(place: Path, content: str) -> None:
    path = place / "registration.yaml"
    path.write_text(content)
    path.chmod(0o600)
    operator = OperatorFiles(registrations=(str(path),))
    with pytest.raises(ConfigError) as refused:
        usable(operator, NOBODY, pytest.fail, make=True)
    assert len(refused.value.problems) == 1


@AS_ROOT
def test_a_link_to_a_registration_is_never_copied(place: Path) -> None:
    (place / "real").write_text(REGISTRATION)
    (place / "real").chmod(0o600)
    (place / "link.yaml").symlink_to(place / "real")
    operator = OperatorFiles(registrations=(f"{place}/link.yaml",))
    with pytest.raises(ConfigError):
        usable(operator, NOBODY, pytest.fail, make=True)
