"""How Synapse's processes write a record: it cannot pass for two, and has no secrets in files.

What a stranger sends may hold line breaks. Whatever follows a line break is indented, and no line
that begins a record is.
"""

import logging
import time

from ganglion.logs.escape import escaped, indented
from ganglion.logs.record import SYNAPSE, Reader, as_json
from ganglion.logs.redact import OWN


class Formatter(logging.Formatter):
    """Python's own formatter, for a record that is one whatever its message has in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, its further lines indented."""
        return indented(super().format(record))


class FileFormatter(Formatter):
    """The formatter of a file, which the supervisor does not read: the same work is done here.

    With `role`, that of the process, a record is a JSON object.
    """

    def __init__(
        self,
        text: str | None = None,
        process: str = "",
        role: str | None = None,
    ) -> None:
        super().__init__(text)
        self._process = process
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the record without secrets and control characters."""
        lines = [
            escaped(OWN.redacted(line.encode(errors="backslashreplace"))).decode()
            for line in super().format(record).split("\n")
        ]
        if self._role is None:
            return "\n".join(lines)
        found = Reader(SYNAPSE).read(lines, time.time())
        return "\n".join(as_json(each, self._process, self._role) for each in found)
