"""Access to files with the rights of another account."""

import contextlib
import functools
import os
import pwd
from collections.abc import Iterator

from ganglion.machine import parent_death
from ganglion.machine.privileges import is_dumpable, may_signal, set_dumpable
from ganglion.machine.unix_accounts import is_numeric, numbers


@contextlib.contextmanager
def acting_as(account: str | None) -> Iterator[None]:
    """Access files with the rights of `account` during the body; None changes nothing.

    Only the effective IDs change, so this is for Ganglion's own code and Synapse's. Code of others
    must not run in the body: it could take root's IDs back. No other thread may run.
    """
    if account is None or os.geteuid() != 0:
        yield
        return
    user, group = numbers(account)
    before, dumpable = os.getgroups(), is_dumpable()
    # Each change clears it: a process that acted so once would outlive its parent.
    parent, ending = os.getppid(), parent_death.chosen()
    try:
        os.setgroups(groups_of(account))
        os.setegid(group)
        os.seteuid(user)
        # Else no child would notice if this process were killed now: parent_death.py.
        may_signal()
        if ending:
            parent_death.end_with_parent(parent, ending)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)
        if ending:
            parent_death.end_with_parent(parent, ending)
        if dumpable:
            set_dumpable()


@functools.cache
def groups_of(account: str) -> list[int]:
    """The groups of an account's processes: all of a name's groups, the one group of numbers."""
    user, group = numbers(account)
    if is_numeric(account):
        return [group]
    return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
