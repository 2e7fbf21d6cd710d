"""Accounts: a name of /etc/passwd, or two numbers as UID:GID, which need no name there."""

import pwd


def numbers(account: str) -> tuple[int, int]:
    """The numbers of an account's user and group. Raises KeyError for an unknown name."""
    user, colon, group = account.partition(":")
    if colon:
        return int(user), int(group)
    entry = pwd.getpwnam(account)
    return entry.pw_uid, entry.pw_gid


def is_numeric(account: str) -> bool:
    """Whether it is numbers, which programs that want a name cannot be told."""
    return ":" in account
