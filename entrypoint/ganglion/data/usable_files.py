"""The operator's files as Synapse's account can use them, or every reason why it cannot."""

from collections.abc import Callable
from dataclasses import replace

from ganglion.data.file_access import impossible_paths, make_missing, paths_of, refusals
from ganglion.data.registrations import unreadable
from ganglion.errors import ConfigError
from ganglion.settings.operator_files import OperatorFiles


def usable(
    operator: OperatorFiles, account: str | None, say: Callable[[str], None], *, make: bool
) -> OperatorFiles:
    """Try every file that the options name with the rights of `account`; None is the own account.

    Registrations that only another account may read are returned as copies. With `make`, missing
    directories are made; else they are not an error yet.

    Raises ConfigError with every file that cannot be used.
    """
    problems = list(impossible_paths(paths_of(operator)))
    if problems:
        raise ConfigError(problems)
    found = replace(operator, copies=unreadable(operator, account))
    for path in found.copies:
        say(f"{path} is copied for the account {account}, which may not read it")
    paths = paths_of(found)
    if make:
        make_missing(paths, account, say)
    problems = list(refusals(paths, account, made=make))
    if problems:
        raise ConfigError(problems)
    return found
