"""A file that this account may not use is a message, wherever it is met; other errors are bugs."""

import errno
import os

from ganglion.cli.main import _refused
from tests.plans import said


def test_the_file_the_account_and_a_fix_are_named() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/data/homeserver.yaml")
    problems = _refused(error)
    assert problems is not None
    uid = os.geteuid()
    assert str(problems[0]) == said(
        "/data/homeserver.yaml",
        f"cannot be used by UID {uid}: Permission denied",
        f"change its owner or mode; in a container, mount a volume that UID {uid} may use",
    )


def test_a_read_only_file_system_is_one_too() -> None:
    problems = _refused(OSError(errno.EROFS, "Read-only file system", "/data"))
    assert problems is not None
    assert "Read-only file system" in str(problems[0])


def test_a_full_disk_is_one_too() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        problems = _refused(OSError(number, os.strerror(number), "/data/secrets/x"))
        assert problems is not None
        assert f"/data/secrets/x: cannot be written: {os.strerror(number)}" in str(problems[0])


def test_other_errors_keep_their_traceback() -> None:
    assert _refused(FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")) is None
