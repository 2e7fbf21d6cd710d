"""A bar that shows how far a long work is, on a terminal alone."""

import sys
import time
from typing import TextIO

# In seconds, and characters.
EVERY = 0.2
WIDTH = 24
MB = 1024**2


class Bar:
    """A line on standard error that is written over and over. `total` is in bytes; 0: unknown."""

    def __init__(self, total: int = 0, stream: TextIO | None = None) -> None:
        self.total = total
        self._stream = sys.stderr if stream is None else stream
        self._is_shown = self._stream.isatty()
        self._next = 0.0
        self._long = 0

    def show(self, part: str, done: int) -> None:
        """Show that `done` bytes are done, the last ones of a part."""
        if not self._is_shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        text = f"{part}: {done // MB} MB"
        if self.total:
            share = min(1.0, done / self.total)
            filled = int(share * WIDTH)
            text = f"[{'#' * filled}{'.' * (WIDTH - filled)}] {share:4.0%} {text} of about"
            text += f" {self.total // MB}"
        self._put(text)

    def close(self) -> None:
        """Remove the line."""
        if self._long:
            self._put("")
            self._stream.write("\r")
            self._stream.flush()

    def _put(self, text: str) -> None:
        self._stream.write(f"\r{text:<{self._long}}")
        self._stream.flush()
        self._long = max(self._long, len(text))
