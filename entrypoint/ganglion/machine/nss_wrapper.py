"""A name for an account that has none, such as that of `docker run --user 12345:12345`.

PostgreSQL refuses to run without one. nss_wrapper, a library of Samba's project, answers the C
library's questions about accounts from two files: https://cwrap.org/nss_wrapper.html
"""

import os
from pathlib import Path

LIBRARIES = Path("/usr/lib")
# The account of the prepared database's administrator, so that database can be used too.
NAME = "postgres"


def library() -> str | None:
    """Return the path of the library, or None if it is not installed."""
    return next(map(str, sorted(LIBRARIES.glob("*/libnss_wrapper.so"))), None)


def accounts_file() -> str:
    """Return the text of a passwd(5) file with the account of this process."""
    return f"{NAME}:x:{os.geteuid()}:{os.getegid()}::/:/usr/sbin/nologin\n"


def groups_file() -> str:
    """Return the text of a group(5) file with the group of this process."""
    return f"{NAME}:x:{os.getegid()}:\n"


def environment(library: str | None, accounts: str, groups: str) -> tuple[tuple[str, str], ...]:
    """Return the variables of a program that gets its names from the two files.

    Empty without `library`: then the account has a name.
    """
    if library is None:
        return ()
    return (
        ("LD_PRELOAD", library),
        ("NSS_WRAPPER_PASSWD", accounts),
        ("NSS_WRAPPER_GROUP", groups),
    )
