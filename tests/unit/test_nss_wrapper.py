"""An account without a name gets one for PostgreSQL, and for no other program."""

import os
from dataclasses import replace

from ganglion.machine import nss_wrapper
from ganglion.plan import render
from tests.plans import plan
from tests.syntax import read_all

LIBRARY = "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so"


def environments(library: str | None) -> dict[str, str]:
    """The environment of each program in supervisord's configuration."""
    found = plan({"WORKERS": "none", "GANGLION_TEST_MODE": "yes"})
    machine = replace(found.machine, accounts=(), ourselves="postgres", nss_wrapper=library)
    files = {file.path: file for file in render(replace(found, machine=machine))}
    sections = read_all(files)["supervisord.conf"]
    programs = [name for name in sections if name.startswith("program:")]
    return {name: sections[name]["environment"] for name in programs}


def test_only_postgresql_gets_the_name() -> None:
    found = environments(LIBRARY)
    assert len(found) > 3
    assert [name for name, text in found.items() if LIBRARY in text] == ["program:postgres"]
    for pair in (
        f'LD_PRELOAD="{LIBRARY}"',
        'NSS_WRAPPER_PASSWD="/run/ganglion/accounts"',
        'NSS_WRAPPER_GROUP="/run/ganglion/groups"',
    ):
        assert pair in found["program:postgres"]


def test_an_account_with_a_name_needs_no_library() -> None:
    assert not [text for text in environments(None).values() if "NSS_WRAPPER" in text]


def test_the_files_hold_this_account() -> None:
    account = nss_wrapper.accounts_file().rstrip("\n").split(":")
    assert account[:4] == ["postgres", "x", str(os.geteuid()), str(os.getegid())]
    # passwd(5) has seven fields, group(5) four.
    assert len(account) == 7
    assert nss_wrapper.groups_file() == f"postgres:x:{os.getegid()}:\n"
