"""Notice that the operator's certificate files were replaced, as by an ACME client."""

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path

from ganglion.data import certificate
from ganglion.errors import ConfigError
from ganglion.settings.variables import Settings

# In seconds. A second look after a change tells whether the files are still being written.
EVERY, SETTLED = 5.0, 2.0

State = tuple[tuple[int, ...] | None, ...]


def state(settings: Settings) -> State:
    """Identify the content of both files, by None for one that is missing."""
    return tuple(_identity(path) for path in (settings.tls_cert, settings.tls_key))


def _identity(path: str | None) -> tuple[int, ...] | None:
    try:
        found = Path(path or "").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def watch(settings: Settings, tell: Callable[[str], None], before: State) -> None:
    """Tell of each change, for ever. It blocks, so it has a process of its own.

    `before` is the state of the files that nginx has read. Files that do not fit together, or are
    invalid in another way, are reported and not taken.
    """
    while True:
        time.sleep(EVERY)
        now = state(settings)
        if now == before:
            continue
        time.sleep(SETTLED)
        if state(settings) != now:
            continue
        before = now
        tell(change(settings))


def change(settings: Settings) -> str:
    """The line for the supervisor after a change of the files."""
    try:
        certificate.check(settings, dt.datetime.now(dt.UTC))
    except ConfigError as error:
        problems = "; ".join(f"{item.variable}: {item.message}" for item in error.problems)
        return f"log the new TLS certificate is not used: {problems}"
    return "reload nginx the TLS certificate was replaced"
