"""The lines that Python itself prints in the supervisor, as JSON: notes, errors, tracebacks.

Everything else goes through Output. This stands for sys.stdout and sys.stderr.
"""

import io
import sys
import time
from types import TracebackType

from ganglion.logs.escape import escaped
from ganglion.logs.record import CRITICAL, ERROR, INFO, Record, as_json
from ganglion.logs.redact import OWN
from ganglion.supervisor.form import GANGLION


class JsonOutput(io.TextIOBase):
    """A stream of text that writes each line as a JSON object to another one.

    `level` is that of its lines.
    """

    def __init__(self, target: io.TextIOBase, level: str) -> None:
        self._target = target
        self._level = level
        self._rest = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._target.fileno()

    def write(self, text: str) -> int:
        """Write the text as one record once its line is whole."""
        self._rest += text
        if self._rest.endswith("\n"):
            self._finish()
        return len(text)

    def flush(self) -> None:
        """Write the rest, too: Python prints whole lines before it flushes."""
        if self._rest:
            self._finish()
        self._target.flush()

    def _finish(self) -> None:
        whole, self._rest = self._rest.removesuffix("\n"), ""
        # A remark on a configuration that works is no error.
        self.record(whole, INFO if whole.startswith("note: ") else self._level)

    def record(self, text: str, level: str) -> None:
        """Write one record, which may have several lines."""
        lines = [
            escaped(OWN.redacted(line.encode(errors="backslashreplace"))).decode()
            for line in text.split("\n")
        ]
        record = Record(time=time.time(), level=level, message="\n".join(lines))
        self._target.write(as_json(record, GANGLION, GANGLION) + "\n")
        self._target.flush()


def take_over() -> None:
    """Have Python print JSON from now on."""
    errors = JsonOutput(sys.__stderr__, ERROR)  # type: ignore[arg-type]
    sys.stdout = JsonOutput(sys.__stdout__, INFO)  # type: ignore[arg-type]
    sys.stderr = errors

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        import traceback  # noqa: PLC0415 - only for an error that ends the program

        text = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
        errors.record(text, CRITICAL)

    sys.excepthook = uncaught
