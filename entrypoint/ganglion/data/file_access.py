"""The files that Synapse's options name, tried with the rights of the account that uses them."""

import enum
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganglion.errors import Problem
from ganglion.files.write import make_directory
from ganglion.machine.acting import acting_as
from ganglion.machine.unix_accounts import numbers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import impossible

Say = Callable[[str], None]

# Names of options whose value is the path of a file. They are the same in all of Synapse's sections
# (synapse/config/*.py) and in libpq's arguments. `path` alone is a socket, or part of a URL.
READ_FILE = re.compile(r"\w+_path|\w+_file|keyfile|sslrootcert|sslcert|sslkey|sslcrl|passfile")
READ_FILES = ("app_service_config_files", "federation_custom_ca_list")
READ_DIRECTORY = ("template_dir", "custom_template_directory", "ca_path")
WRITE_DIRECTORY = ("media_store_path", "uploads_path")
# Synapse makes these files if they are missing; Ganglion makes the first.
MADE_FILE = ("signing_key_path", "registration_shared_secret_path")
# Ganglion's own value replaces these, or nothing reads them.
UNUSED = ("pid_file", "log_config", "worker_log_config", "password_path", "worker_log_file")
# The options of modules are unknown, except for those of Synapse's own storage provider.
FILE_STORAGE = "file_system"
# Values that name no file.
NO_FILE = ("", "-")


class Use(enum.Enum):
    """How a path is used."""

    READ_FILE = "read"
    READ_DIRECTORY = "read as a directory"
    WRITE_DIRECTORY = "written to as a directory"
    MADE_FILE = "read, or made"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPath:
    """A path that an option names. `option` has its section: `email.template_dir`."""

    option: str
    path: str
    use: Use


def named_paths(options: Mapping[str, object]) -> Iterator[NamedPath]:
    """Every path that Synapse's options name."""
    yield from _walk("", options)


def paths_of(operator: OperatorFiles) -> list[NamedPath]:
    """Every path that the operator's files lead to. Copied registrations are left out."""
    registrations = [
        NamedPath(option="app_service_config_files", path=path, use=Use.READ_FILE)
        for path in operator.registrations
    ]
    found = [*named_paths(operator.options), *registrations]
    return [named for named in dict.fromkeys(found) if named.path not in operator.copies]


def _walk(section: str, value: object) -> Iterator[NamedPath]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(section, item)
    elif isinstance(value, Mapping):
        module = value.get("module")
        for key, item in value.items():
            name = f"{section}.{key}" if section else str(key)
            if module is not None and key == "config":
                yield from _of_module(name, module, item)
            else:
                yield from _of_option(name, str(key), item)


def _of_module(name: str, module: object, config: object) -> Iterator[NamedPath]:
    if module == FILE_STORAGE and isinstance(config, Mapping):
        yield from _named(f"{name}.directory", config.get("directory"), Use.WRITE_DIRECTORY)


def _of_option(name: str, key: str, value: object) -> Iterator[NamedPath]:
    if key in UNUSED:
        return
    use = Use.READ_FILE if key in READ_FILES else _use(key)
    if use is None or isinstance(value, Mapping):
        yield from _walk(name, value)
        return
    for path in value if isinstance(value, list) else [value]:
        yield from _named(name, path, use)


def _use(key: str) -> Use | None:
    if key in WRITE_DIRECTORY:
        return Use.WRITE_DIRECTORY
    if key in MADE_FILE:
        return Use.MADE_FILE
    if key in READ_DIRECTORY:
        return Use.READ_DIRECTORY
    return Use.READ_FILE if READ_FILE.fullmatch(key) else None


def _named(option: str, path: object, use: Use) -> Iterator[NamedPath]:
    # Synapse itself reports a value that is not text.
    if isinstance(path, str) and path not in NO_FILE:
        yield NamedPath(option=option, path=str(Path(path).absolute()), use=use)


def impossible_paths(paths: list[NamedPath]) -> Iterator[Problem]:
    """Every path that no file can have."""
    for named in paths:
        reason = impossible(named.path)
        if reason:
            yield _problem(named, reason, f"correct {named.option}")


def make_missing(paths: list[NamedPath], account: str | None, say: Say) -> None:
    """Make missing directories that Synapse writes to, for its account.

    A directory is made with root's rights only below directories that root alone can change:
    elsewhere a link could lead anywhere. Otherwise the account makes it, if it may.
    """
    for named in paths:
        path = Path(named.path)
        if named.use is not Use.WRITE_DIRECTORY or path.exists():
            continue
        trusted = _only_roots(path)
        try:
            with acting_as(None if trusted else account):
                make_directory(path, 0o750, account if trusted else None)
        except OSError:
            # The trial that follows says why.
            continue
        say(f"made {path} for {named.option}")


def _only_roots(path: Path) -> bool:
    """Whether only root can change the existing directories above `path`."""
    if os.geteuid() != 0:
        return False
    for ancestor in path.parents:
        try:
            found = ancestor.lstat()
        except FileNotFoundError:
            continue
        writable = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or writable:
            return False
    return True


def refusals(paths: list[NamedPath], account: str | None, *, made: bool) -> Iterator[Problem]:
    """Every path that the account cannot use as its option needs.

    `made` says that missing directories have been made; else they are not missed yet.
    """
    for named in paths:
        with acting_as(account):
            problem = _refusal(named, account, made=made)
        if problem is not None:
            yield problem


def _refusal(named: NamedPath, account: str | None, *, made: bool) -> Problem | None:
    path = Path(named.path)
    who = account or f"UID {os.geteuid()}"
    try:
        if named.use is Use.WRITE_DIRECTORY:
            return _unwritable(named, path, who, made=made)
        if named.use is Use.MADE_FILE and not path.exists():
            return _unwritable(named, path.parent, who, made=True)
        _open(path, directory=named.use is Use.READ_DIRECTORY)
    except FileNotFoundError:
        return _problem(named, "does not exist", f"create it, or remove {named.option}")
    except PermissionError:
        return _problem(named, *_forbidden(path, who, "r"))
    except OSError as error:
        kind = "directory" if named.use is Use.READ_DIRECTORY else "file"
        return _problem(named, f"cannot be read: {error.strerror}", f"give the path of a {kind}")
    return None


def _open(path: Path, *, directory: bool) -> None:
    """Open a path for reading. Raises OSError; never blocks, as a FIFO would."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_DIRECTORY if directory else 0)
    descriptor = os.open(path, flags)
    try:
        if not directory and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a regular file")
    finally:
        os.close(descriptor)


def _unwritable(named: NamedPath, directory: Path, who: str, *, made: bool) -> Problem | None:
    if not directory.exists():
        if not made:
            return None
        command = f"install -d -o {who} -m 750 {directory}"
        return _problem(named, f"the directory {directory} does not exist", command)
    if not directory.is_dir():
        return _problem(named, f"{directory} is not a directory", "give the path of a directory")
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return _problem(named, *_forbidden(directory, who, "w"))
    return None


def _forbidden(path: Path, who: str, right: str) -> tuple[str, str]:
    """Why an account may not use a path, and the command that allows it."""
    for ancestor in reversed(path.parents):
        if ancestor.is_dir() and not os.access(ancestor, os.X_OK, effective_ids=True):
            return f"the account {who} cannot enter {ancestor}", f"chmod o+x {ancestor}"
    verb = "read" if right == "r" else "write to"
    found = path.stat()
    owned = f"it belongs to UID {found.st_uid}, with mode {stat.S_IMODE(found.st_mode):04o}"
    return f"the account {who} cannot {verb} it: {owned}", f"chown {_owner(who)} {path}"


def _owner(who: str) -> str:
    """An account as chown takes it on any machine: the container's names may not exist there."""
    if who.startswith("UID "):
        return who.removeprefix("UID ")
    user, group = numbers(who)
    return f"{user}:{group}"


def _problem(named: NamedPath, message: str, hint: str) -> Problem:
    return Problem(variable=named.option, value=named.path, message=message, hint=hint)
