"""The layout of `ganglion apply`, which outlives a restart: applied.json.

It is in force as long as WORKERS is what it was when the layout was applied. A start with another
value removes it.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ganglion.data.paths import Paths
from ganglion.errors import ConfigError, Problem, reason
from ganglion.files.write import write_file
from ganglion.settings.reading import LARGEST_FILE, parse_json, read_text
from ganglion.settings.variables import Settings

MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A text of WORKERS, and the variable at that time: its value, None if unset.

    `old_types` says whether that was SYNAPSE_WORKER_TYPES instead of WORKERS.
    """

    workers: str
    variable: str | None
    old_types: bool

    @property
    def described(self) -> str:
        """Say which variable it replaces."""
        name = "SYNAPSE_WORKER_TYPES" if self.old_types else "WORKERS"
        return f"the variable {name} is " + (self.variable or "unset")

    def fits(self, settings: Settings) -> bool:
        """Whether the variable is what it was. A part of a server never has a layout of its own."""
        now = (settings.workers, settings.repeats_add_up)
        return not settings.partial and now == (self.variable, self.old_types)


def read(paths: Paths) -> Applied | None:
    """Read applied.json. Return None if there is none. Raises ConfigError if it is unusable."""
    path = Path(paths.applied_workers)
    try:
        return _applied(parse_json(read_text(path, LARGEST_FILE)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        if not os.access(path.parent, os.X_OK, effective_ids=True):
            # No file in there can be read, which is reported of homeserver.yaml.
            return None
        raise ConfigError(
            [
                Problem(
                    variable=str(path),
                    value=None,
                    message=f"cannot be used: {reason(error)}",
                    hint="remove it to start with WORKERS",
                )
            ]
        ) from error


def _applied(values: object) -> Applied:
    """Check the types. Raises ValueError."""
    match values:
        case {
            "workers": str(workers),
            "variable": str() | None as variable,
            "old_types": bool(old_types),
        }:
            return Applied(workers=workers, variable=variable, old_types=old_types)
    raise ValueError("is not a record of ganglion apply")


def in_force(settings: Settings) -> Settings:
    """Return settings with the applied layout, if it is in force. Raises ConfigError."""
    applied = read(settings.paths)
    if applied is None or not applied.fits(settings):
        return settings
    return replace(settings, workers=applied.workers, repeats_add_up=False)


def stage(paths: Paths, applied: Applied) -> None:
    """Write the record beside its place. The supervisor moves it there: supervisor/changing.py."""
    text = json.dumps(asdict(applied), indent=2, ensure_ascii=False) + "\n"
    write_file(_staged(paths), text, MODE, None)


def discard(paths: Paths) -> None:
    """Remove the staged record, if it is still there."""
    _staged(paths).unlink(missing_ok=True)


def _staged(paths: Paths) -> Path:
    place = Path(paths.applied_workers)
    return place.with_name(f".{place.name}.next")


def is_out_of_force(settings: Settings) -> bool:
    """Whether there is a record, and the variable is another one by now: `settings` are its."""
    applied = read(settings.paths)
    return applied is not None and not applied.fits(settings)


def notes(settings: Settings) -> Iterator[str]:
    """Say that WORKERS is overridden."""
    applied = read(settings.paths)
    if applied is not None and settings.workers == applied.workers:
        yield (
            f"WORKERS in force is {applied.workers!r}, of `ganglion apply`, until the variable"
            " changes or `ganglion apply --reset`"
        )
