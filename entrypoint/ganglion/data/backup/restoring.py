"""The mark of a restore at work, and the way of its files from the stage to their places.

A restore writes below DATA/.restoring, on the same disk, and renames the result when it is whole.
Its journal says how far it is. No server starts while the directory is there.
"""

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganglion.data.paths import Paths
from ganglion.errors import ConfigError, Problem, reason
from ganglion.files.disk import flush_entry
from ganglion.files.write import write_file
from ganglion.settings.reading import LARGEST_FILE, parse_json, read_text

# The states of a journal. STAGING: nothing is in its place yet. DATABASE: an external database,
# which was empty, is being filled in one transaction. PLACING: everything is whole.
STAGING, DATABASE, PLACING = "staging", "database", "placing"
STATES = (STAGING, DATABASE, PLACING)
JOURNAL = "journal.json"
# The directories of the stage.
TREE, MEDIA, CLUSTER = "data", "media", "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """How far a restore is. `sha256` is that of the archive's listing.

    `media` is the media store. If it is `outside`, the operator named it. It may be on another
    disk then, so its stage is in it.
    """

    state: str
    sha256: str
    media: str
    outside: bool

    def media_stage(self, paths: Paths) -> str:
        """Return the directory to which media are written first."""
        return f"{self.media}/.restoring" if self.outside else f"{paths.restoring}/{MEDIA}"


def refuse(paths: Paths) -> None:
    """Raise ConfigError if a restore or an import into the data directory has not ended."""
    if os.path.lexists(paths.restoring):
        message = "holds a restore that has not ended"
        hint = "type `ganglion restore FILE` with the same file: it goes on, or begins anew;"
        hint += f" to give it up, remove {paths.restoring}"
    elif os.path.lexists(paths.importing):
        message = "holds an import that was cut off, so files are missing"
        hint = f"remove {paths.data}, and type `ganglion import` again"
    else:
        return
    problem = Problem(variable="GANGLION_DATA", value=paths.data, message=message, hint=hint)
    raise ConfigError([problem])


def read(paths: Paths) -> Journal | None:
    """Return the journal; None if there is none. Raises ConfigError if it cannot be used."""
    path = Path(paths.restoring, JOURNAL)
    try:
        found: Any = parse_json(read_text(path, LARGEST_FILE, follow=False))
        journal = _journal(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        hint = f"remove {paths.restoring}, and restore again into an empty directory"
        message = f"cannot be used: {reason(error)}"
        raise ConfigError(
            [Problem(variable=str(path), value=None, message=message, hint=hint)]
        ) from error
    return journal


def _journal(found: dict[str, Any]) -> Journal:
    """Raises ValueError and TypeError for one that is not ours."""
    journal = Journal(**found)
    if journal.state not in STATES:
        raise ValueError(f"unknown state {journal.state!r}")
    return journal


def keep(paths: Paths, journal: Journal) -> None:
    """Write the journal, on the disk when this returns."""
    text = json.dumps(asdict(journal)) + "\n"
    write_file(Path(paths.restoring, JOURNAL), text, 0o600, None)


def discard(paths: Paths, journal: Journal | None) -> None:
    """Remove the stage of a restore that has put nothing in its place."""
    if journal is not None and journal.outside:
        shutil.rmtree(journal.media_stage(paths), ignore_errors=True)
    _remove(Path(paths.restoring))


def place(paths: Paths, journal: Journal) -> None:
    """Rename everything from the stage to its place, and remove the stage. It can be repeated."""
    stage, media = Path(paths.restoring), Path(journal.media)
    moves = [(stage / CLUSTER, Path(paths.postgres)), *_children(stage / TREE, Path(paths.data))]
    staged = Path(journal.media_stage(paths))
    moves += _children(staged, media) if journal.outside else [(staged, media)]
    for source, target in moves:
        if os.path.lexists(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            # rename(2) replaces an empty directory, such as `secrets` of the data directory's lock.
            source.rename(target)
            flush_entry(target)
    if journal.outside and staged.exists():
        state = staged.stat()
        if os.geteuid() == 0:
            os.chown(media, state.st_uid, state.st_gid)
        staged.rmdir()
    else:
        media.chmod(0o750)
    _remove(stage)


def _remove(stage: Path) -> None:
    """Remove a stage, its name first: half of one must not be taken for a stage."""
    gone = stage.with_name(f"{stage.name}.new")
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        stage.rename(gone)
        shutil.rmtree(gone)
    flush_entry(stage)


def _children(source: Path, target: Path) -> list[tuple[Path, Path]]:
    with contextlib.suppress(FileNotFoundError):
        return [(path, target / path.name) for path in sorted(source.iterdir())]
    return []
