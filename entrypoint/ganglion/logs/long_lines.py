"""Cut a line that does not end into pieces, without a part of a secret in each of two."""

import re
from collections.abc import Callable

from ganglion.logs.redact import REDACTED, SUSPECT

# In bytes: how far before the end of a piece a name or a value is looked for.
NEAR = 256
# Back to the last thing that stands between two values, with the quotes behind it.
_WORD = re.compile(rb"[^\s,&;?{(\[]*\Z")
_REST_OF_VALUE = re.compile(rb"[^\s&\"',;)}\]]*")


def place_of_cut(line: bytes, longest: int) -> int:
    """Return where to cut a line that is longer than `longest` bytes: there, or a little before.

    The name of a secret that is near the place moves to the next piece, with its value.
    """
    near = longest - NEAR
    found = SUSPECT.search(line[near:longest].lower())
    end = near + found.start() if found else longest
    word = _WORD.search(line, end - NEAR, end)
    start = word.start() if word else end
    # A text without anything between its words has no better place.
    return longest if start == end - NEAR else start


class Pieces:
    """Follows the pieces of one line: a value that a cut goes through is removed from the next."""

    def __init__(self) -> None:
        self._in_value = False

    def cleaned(self, piece: bytes, redact: Callable[[bytes], bytes], *, cut: bool) -> bytes:
        """Return a piece without secrets. `cut` says that the line goes on behind it."""
        if self._in_value:
            rest = _REST_OF_VALUE.match(piece)
            piece = REDACTED + piece[rest.end() if rest else 0 :]
        found = redact(piece)
        self._in_value = cut and found.endswith(REDACTED)
        return found
