"""The directories that must exist before anything starts, and the file of nginx's requests."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

from ganglion.files.write import make_directory
from ganglion.machine.installed import Machine
from ganglion.machine.unix_accounts import numbers
from ganglion.programs import registry
from ganglion.settings.variables import Settings


def make_directories(settings: Settings, machine: Machine) -> None:
    """Make the directories of every service, each with its mode and owner, and the media store.

    The media store keeps its mode and owner if it exists. The stage of a killed move from SQLite,
    which can hold a copy of the database, is removed. Raises PermissionError, which names the
    directory, if it belongs to another account.
    """
    shutil.rmtree(settings.paths.porting, ignore_errors=True)
    for directory in registry.directories(settings):
        make_directory(
            Path(directory.path),
            directory.mode,
            machine.account(directory.service),
            group=machine.account(directory.entered_by),
        )
    if settings.control_runs:
        _make_request_log(settings, machine)
    media, account = Path(settings.paths.media_store), machine.account("synapse")
    if not media.exists():
        make_directory(media, 0o750, account)
    if account is None and not os.access(media, os.R_OK | os.W_OK | os.X_OK):
        # Of an earlier start as root. Otherwise each upload would fail.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(media))


def _make_request_log(settings: Settings, machine: Machine) -> None:
    """Make the file that nginx appends to as root, and that the control application empties."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(settings.paths.requests, flags, 0o600)
    with contextlib.closing(os.fdopen(file, "wb")):
        account = None if settings.test_mode else machine.account("synapse")
        if account is not None:
            os.fchown(file, *numbers(account))
