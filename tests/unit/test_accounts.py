"""Accounts by their names, and by numbers that have none."""

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from ganglion.data.ownership import hand_over
from ganglion.machine.installed import accounts, shared_numbers
from ganglion.machine.unix_accounts import is_numeric, numbers
from ganglion.plan import render
from ganglion.programs.registry import ACCOUNTS
from tests.plans import plan, said
from tests.syntax import read_all

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def test_numbers() -> None:
    entry = pwd.getpwuid(os.geteuid())
    assert numbers(entry.pw_name) == (entry.pw_uid, entry.pw_gid)
    assert numbers("4711:4712") == (4711, 4712)
    assert (is_numeric("4711:4712"), is_numeric("synapse")) == (True, False)
    with pytest.raises(KeyError):
        numbers("nobody-has-this-name")


def test_only_synapse_runs_as_the_numbers_given() -> None:
    assert dict(accounts(ACCOUNTS, None, None)) == ACCOUNTS
    assert dict(accounts(ACCOUNTS, 1000, 1001)) == {**ACCOUNTS, "synapse": "1000:1001"}
    # As Synapse's own image has it.
    assert dict(accounts(ACCOUNTS, 1000, None))["synapse"] == "1000:991"
    assert dict(accounts(ACCOUNTS, None, 1001))["synapse"].endswith(":1001")


def test_numbers_without_a_name_are_given_to_our_supervisord_alone() -> None:
    found = plan({"WORKERS": "pusher"})
    machine = replace(found.machine, accounts=accounts(ACCOUNTS, 1000, 1001))
    files = read_all({file.path: file for file in render(replace(found, machine=machine))})
    programs = files["supervisord.conf"]
    for name in ("main", "pusher1"):
        section = programs[f"program:{name}"]
        assert "user" not in section
        assert 'GANGLION_ACCOUNT="1000:1001"' in section["environment"]
    assert programs["program:postgres"]["user"] == "postgres"
    assert "GANGLION_ACCOUNT" not in programs["program:postgres"]["environment"]


@AS_ROOT
def test_what_another_account_wrote_is_handed_over_once(tmp_path: Path) -> None:
    inside = tmp_path / "media" / "deep" / "file"
    inside.parent.mkdir(parents=True)
    inside.touch()
    (tmp_path / "outside").touch()
    (tmp_path / "media" / "link").symlink_to(tmp_path / "outside")
    assert hand_over(tmp_path, tmp_path / "media", "4711:4712")
    owned = [inside, inside.parent, tmp_path / "media"]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in owned} == {(4711, 4712)}
    assert (tmp_path / "outside").stat().st_uid == 0
    # The directory has its owner already, so its contents are not walked at each start.
    os.chown(inside, 0, 0)
    assert not hand_over(tmp_path, tmp_path / "media", "4711:4712")
    assert inside.stat().st_uid == 0
    assert not hand_over(tmp_path, tmp_path / "missing", "4711:4712")


@AS_ROOT
@pytest.mark.parametrize(
    "spelling",
    [
        "link",
        "link/inside",
        "outside/..//link/inside",
        "../outside",
        "/etc/hostname",
        ".",
        "",
        "hard",
    ],
)
def test_nothing_outside_the_data_directory_changes_its_owner(
    tmp_path: Path, spelling: str
) -> None:
    """Another account may have replaced any part of a path by a link."""
    data, outside = tmp_path / "data", tmp_path / "outside"
    data.mkdir()
    outside.mkdir()
    (outside / "inside").touch()
    (data / "link").symlink_to(outside)
    (data / "hard").hardlink_to(outside / "inside")
    assert not hand_over(data, data / spelling, "4711:4712")
    for path in (data, outside, outside / "inside", Path("/etc/hostname")):
        assert path.lstat().st_uid == 0


@AS_ROOT
def test_a_link_below_a_directory_changes_its_own_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    (tmp_path / "data/media").mkdir(parents=True)
    (tmp_path / "data/media/link").symlink_to(tmp_path / "outside")
    (tmp_path / "data/media/hard").hardlink_to(tmp_path / "outside")
    assert hand_over(tmp_path / "data", tmp_path / "data/media", "4711:4712")
    assert (tmp_path / "outside").stat().st_uid == 0
    assert (tmp_path / "data/media/link").lstat().st_uid == 4711


@pytest.mark.parametrize(
    ("variable", "number", "owner"),
    [("UID", 0, "root"), ("GID", 0, "root"), ("UID", 4711, "the account of postgres")],
)
def test_synapse_never_gets_the_number_of_another_program(
    variable: str, number: int, owner: str
) -> None:
    found = (("synapse", "1000:1000"), ("postgres", "4711:4712"))
    user, group = (number, None) if variable == "UID" else (None, number)
    assert [str(problem) for problem in shared_numbers(found, user, group)] == [
        said(
            f"{variable}='{number}'",
            f"is the number of {owner}, whose rights Synapse must not have",
            f"unset {variable}, or give the number of an account of your own, such as 991",
        )
    ]
    assert list(shared_numbers(found, 1000, 1000)) == []
