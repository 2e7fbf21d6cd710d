"""The owners of files in the data directory."""

import os
from collections.abc import Callable
from pathlib import Path

from ganglion.files.write import make_directory
from ganglion.machine.installed import Machine
from ganglion.machine.unix_accounts import numbers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings

Say = Callable[[str], None]


def take_over(settings: Settings, operator: OperatorFiles, machine: Machine, say: Say) -> None:
    """Give Synapse's account what it writes to, or reads by itself, and another account wrote: that
    of Synapse's own image, run under other numbers.
    """
    account = machine.account("synapse")
    options = operator.options
    named = [options.get(name) for name in ("media_store_path", "signing_key_path", "uploads_path")]
    paths = [Path(settings.data, path) for path in named if isinstance(path, str)]
    paths.append(Path(settings.paths.media_store))
    # The files of options too, where not everybody may read them: `generate` makes such.
    paths += [path for path in map(Path, operator.paths) if not path.stat().st_mode & 0o004]
    if settings.sqlite is not None:
        # SQLite writes its journal beside the file.
        paths.append(Path(settings.sqlite))
        place = Path(settings.sqlite).parent
        make_directory(place, place.stat().st_mode & 0o777 if place.exists() else 0o755, account)
    for path in paths:
        inside = path.is_relative_to(settings.data) and path != Path(settings.data)
        if inside and hand_over(path, account):
            say(f"{path} belongs to {account} from now on")


def hand_over(path: Path, account: str | None) -> bool:
    """Give a file, or a directory with all that is in it, to an account. Whether that was needed:
    what belongs to it already is not looked through.
    """
    if account is None or not path.exists():
        return False
    owner, group = numbers(account)
    if path.stat().st_uid == owner:
        return False
    for item in (path, *path.rglob("*")):
        os.chown(item, owner, group, follow_symlinks=False)
    return True
