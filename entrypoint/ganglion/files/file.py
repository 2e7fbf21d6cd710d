"""A file to be written."""

from dataclasses import dataclass

PUBLIC = 0o644
SECRET = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file below some directory. `program` names the service whose account owns it; empty for
    the account that starts Ganglion.
    """

    path: str
    content: str
    mode: int = PUBLIC
    program: str = ""
