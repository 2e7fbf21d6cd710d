"""Registration files of application services that Synapse's account may not read."""

import os
from pathlib import Path

import yaml

from ganglion.machine.acting import acting_as
from ganglion.settings import bounded_yaml
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import LARGEST_FILE, read_text

# Keys of every registration: https://spec.matrix.org/latest/application-service-api/#registration
KEYS = {"id", "as_token", "hs_token"}


def unreadable(operator: OperatorFiles, account: str | None) -> dict[str, str]:
    """The text of each registration that only another account may read, by its path.

    Bridges write theirs at mode 0600 of an account of their own, and must go on reading them, so
    their owner stays. Root reads them here; without root there are none.
    """
    if account is None or os.geteuid() != 0:
        return {}
    copies: dict[str, str] = {}
    for path in operator.all_registrations:
        try:
            with acting_as(account):
                _text(path)
        except PermissionError:
            text = _registration(path)
            if text is not None:
                copies[path] = text
        except (OSError, ValueError):
            # The trial of all named files reports it.
            continue
    return copies


def _registration(path: str) -> str | None:
    """The text of a file if it is a registration. Its directory may belong to another account."""
    try:
        text = _text(path)
        found = bounded_yaml.load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return text if isinstance(found, dict) and found.keys() >= KEYS else None


def _text(path: str) -> str:
    """The text of a regular file that is not a link. Raises OSError and ValueError."""
    return read_text(Path(path).absolute(), LARGEST_FILE, follow=False)
