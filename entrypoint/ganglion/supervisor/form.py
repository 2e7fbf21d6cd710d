"""The two formats of the supervisor's stdout: text and JSON, one line for each record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ganglion.logs.record import Reader, as_json

# The names of the supervisor's own lines, and of those of a start.
SUPERVISOR, GANGLION = "supervisor", "ganglion"


class Form(Protocol):
    """Makes the lines that are written from the lines that a program printed."""

    def lines(self, process: str, kind: str, lines: Sequence[bytes], now: float) -> bytes:
        """Return whole lines. `lines` are UTF-8, without line breaks, secrets and escapes.

        `kind` is how the program writes its lines: logs/record.py. `now` is in seconds since 1970.
        """


class Text:
    """`PROCESS | line`, each as the program wrote it."""

    def lines(self, process: str, kind: str, lines: Sequence[bytes], now: float) -> bytes:  # noqa: ARG002
        """Return the lines, each with its process."""
        prefix = f"{process} | ".encode()
        return b"".join(prefix + line + b"\n" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Json:
    """One JSON object for each record. `roles` are those of Synapse's processes, by their names."""

    roles: Mapping[str, str] = field(default_factory=dict)
    _readers: dict[str, Reader] = field(default_factory=dict)

    def lines(self, process: str, kind: str, lines: Sequence[bytes], now: float) -> bytes:
        """Return an object for each record."""
        reader = self._readers.setdefault(process, Reader(kind))
        role = self.roles.get(process, process)
        found = reader.read([line.decode(errors="replace") for line in lines], now)
        return "".join(f"{as_json(record, process, role)}\n" for record in found).encode(
            errors="backslashreplace"
        )
