"""A request to change the layout: its steps, the files that it brings, and its obstacles."""

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.supervisor.fork import configuration
from ganglion.supervisor.program import GatedProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A change as the command asks for it.

    `steps` are the kinds of steps with names of programs. `added`, `removed` and `together` are as
    in `ganglion.changes.steps`. `keep` says whether the new layout outlives a restart.
    """

    steps: tuple[tuple[str, tuple[str, ...]], ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    together: tuple[str, ...]
    keep: bool

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> "Request":
        """Read a request of the command socket. Raises KeyError, TypeError or ValueError."""
        return cls(
            steps=tuple((str(do), tuple(map(str, names))) for do, names in request["steps"]),
            added=tuple(request["added"]),
            removed=tuple(request["removed"]),
            together=tuple(request["together"]),
            keep=bool(request["keep"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The directories and files of a change, next to the conf directory and in the data directory.

    `record` is the file of the applied layout, `staged` the one that may replace it.
    """

    conf: Path
    record: Path

    @property
    def coming(self) -> Path:
        return self.conf.with_name("conf.next")

    @property
    def taken(self) -> Path:
        return self.conf.with_name("conf.changing")

    @property
    def before(self) -> Path:
        return self.conf.with_name("conf.before")

    @property
    def staged(self) -> Path:
        return self.record.with_name(f".{self.record.name}.next")

    @property
    def claimed(self) -> Path:
        return self.record.with_name(f".{self.record.name}.changing")

    def take(self, *, keep: bool) -> None:
        """Take the staged files and, with `keep`, the record: no other command can change them.

        Raises OSError, with nothing taken.
        """
        for left in (self.taken, self.before):
            shutil.rmtree(left, ignore_errors=True)
        self.claimed.unlink(missing_ok=True)
        if keep:
            self.staged.rename(self.claimed)
        try:
            self.coming.rename(self.taken)
        except OSError:
            self.claimed.unlink(missing_ok=True)
            raise

    def swap(self) -> None:
        """Exchange the conf directories. Raises OSError; swap_back() works all the same."""
        self.conf.rename(self.before)
        self.taken.rename(self.conf)

    def swap_back(self) -> None:
        """Undo swap(), also half of it. Raises OSError."""
        if not self.before.exists():
            return
        if self.conf.exists():
            self.conf.rename(self.taken)
        self.before.rename(self.conf)

    def clean(self) -> None:
        """Remove all but the conf directory and the record."""
        for directory in (self.before, self.taken):
            shutil.rmtree(directory, ignore_errors=True)
        self.claimed.unlink(missing_ok=True)


def obstacle(programs: Mapping[str, GatedProcess], conf: Path) -> str:
    """Say why no change may begin now, or why there might be no way back. Empty if it may.

    `conf` is the conf directory: files elsewhere are the operator's.
    """
    idle = [
        name
        for name, program in programs.items()
        if not program.ready or program.held or program.paused or program.restarting
    ]
    if idle:
        return f"{', '.join(idle)} not ready now"
    for name, program in programs.items():
        if program.used is None:
            continue
        config = program.config
        present = configuration.read(shlex.split(config.command), config.options.account)
        changed = [
            path
            for path in {**present, **program.used}
            if not Path(path).is_relative_to(conf) and present.get(path) != program.used.get(path)
        ]
        if changed:
            return (
                f"{changed[0]} has changed since {name} started; run `ganglion restart --all` first"
            )
    return ""
