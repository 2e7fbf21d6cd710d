"""Unix accounts: a name from /etc/passwd, or UID:GID, which needs no entry there."""

import functools
import pwd


@functools.cache
def numbers(account: str) -> tuple[int, int]:
    """Return the UID and GID of an account. Raises KeyError for an unknown name.

    An account is looked up once: without a free descriptor no account is found.
    """
    user, colon, group = account.partition(":")
    if colon:
        return int(user), int(group)
    entry = pwd.getpwnam(account)
    return entry.pw_uid, entry.pw_gid


def is_numeric(account: str) -> bool:
    """Return whether an account is UID:GID, which programs that require a name cannot use."""
    return ":" in account
