"""The secrets in force: given, kept from an earlier start, or generated and kept."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

from signedjson.key import encode_signing_key_base64, generate_signing_key

from ganglion.data.identity import server_name
from ganglion.errors import ConfigError, Problem
from ganglion.files.file import SECRET
from ganglion.files.write import write_file
from ganglion.settings import test_mode
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import LARGEST_SECRET, read_text
from ganglion.settings.secrets import GENERATED, GIVEN, Secrets, generate
from ganglion.settings.variables import Settings


def keep_secrets(settings: Settings, operator: OperatorFiles) -> Secrets:
    """The secrets in force. What no variable gives is read from the data directory, where what
    is missing is made.

    A secret that a variable or the operator's files give is not kept: that stays its only place.
    """
    directory = Path(settings.paths.kept_secrets)
    values: dict[str, str] = {}
    for name in (*GENERATED, *GIVEN):
        given: str | None = getattr(settings, name)
        given = operators_secret(operator, name) or given
        if name == "registration_shared_secret" and settings.test_mode:
            given = given or test_mode.SHARED_SECRET
        if name in GIVEN:
            values[name] = given or ""
        else:
            make = functools.partial(new_secret, settings, name)
            values[name] = given or _kept(directory / name, make)
    path = Path(settings.paths.signing_key(server_name(settings, operator)))
    given = operators_secret(operator, "signing_key") or settings.signing_key
    values["signing_key"] = given or _kept(path, new_signing_key)
    return Secrets(**values)


def operators_secret(operator: OperatorFiles, name: str) -> str | None:
    """Return a secret that the operator's files give, in them or in a file of its own.

    Synapse takes that one, whatever a variable says, so those who ask Synapse must know it.
    """
    own = operator.options.get(name)
    if isinstance(own, str):
        return own
    path = operator.options.get(f"{name}_path")
    if isinstance(path, str):
        with contextlib.suppress(OSError, ValueError):
            return read_text(path, LARGEST_SECRET).strip()
    return None


def new_secret(settings: Settings, name: str) -> str:
    """A secret: that of the file in which Synapse's image kept its own, if it is there, else one
    that is new.
    """
    kind = {"registration_shared_secret": "registration", "macaroon_secret_key": "macaroon"}
    path = Path(settings.data, f"{settings.server_name}.{kind.get(name, name)}.key")
    left = kept_text(path) if path.is_file() else ""
    return left or generate()


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The text of a file, made first if it is not there. Raises ConfigError if it is empty."""
    try:
        value = kept_text(path)
    except FileNotFoundError:
        value = make()
        write_file(path, f"{value}\n", SECRET, None)
    if not value:
        raise ConfigError(
            [
                Problem(
                    variable=str(path),
                    value=None,
                    message="is empty, which everyone could guess",
                    hint="restore it from a backup, or remove it: the next start makes a new one",
                )
            ]
        )
    return value


def kept_text(path: Path) -> str:
    """The text of a secret's file in the data directory.

    Raises FileNotFoundError, and ConfigError if the file is there and cannot be read.
    """
    try:
        return read_text(path, LARGEST_SECRET).strip()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            [
                Problem(
                    variable=str(path),
                    value=None,
                    message=f"cannot be read: {reason}",
                    hint="restore it from a backup, or correct its owner and mode",
                )
            ]
        ) from error


def new_signing_key() -> str:
    """The line of a new signing key."""
    key = generate_signing_key(f"a_{generate()[:6].replace('-', 'x').replace('_', 'y')}")
    return f"{key.alg} {key.version} {encode_signing_key_base64(key)}"
