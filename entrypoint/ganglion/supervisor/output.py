"""Write programs' output to stdout, each line prefixed by the program's name."""

import os
from typing import Any

from supervisor.dispatchers import POutputDispatcher

STDOUT = 1
# In bytes. A longer line is passed on in pieces of this size.
LONGEST_LINE = 64 * 1024


class PrefixedOutput(POutputDispatcher):
    """Reads one program's output and writes each whole line as `NAME | line`."""

    output_buffer: bytes

    def __init__(self, process: Any, event_type: Any, fd: int) -> None:
        super().__init__(process, event_type, fd)
        self.prefix = f"{process.config.name} | ".encode()

    def record_output(self) -> None:
        """Pass on the whole lines in output_buffer."""
        *lines, rest = self.output_buffer.split(b"\n")
        if len(rest) >= LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self.output_buffer = rest
        self._pass_on(lines)

    def close(self) -> None:
        """Pass on a last line without a line break."""
        if self.output_buffer:
            self._pass_on([self.output_buffer])
            self.output_buffer = b""
        super().close()

    def _pass_on(self, lines: list[bytes]) -> None:
        ready_line = self.process.config.ready_line
        if ready_line and any(ready_line in line for line in lines):
            self.process.mark_ready()
        data = b"".join(self.prefix + line + b"\n" for line in lines)
        while data:
            try:
                data = data[os.write(STDOUT, data) :]
            except BrokenPipeError:
                # Nothing reads the supervisor's output any more. The programs go on.
                return
