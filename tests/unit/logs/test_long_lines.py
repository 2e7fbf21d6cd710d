"""A line that is cut has no part of a secret on either side."""

import pytest

from ganglion.logs.long_lines import Pieces, place_of_cut
from ganglion.logs.redact import redacted

LONGEST = 1024
SECRET = b"c2VjcmV0LXZhbHVl"


def pieces(line: bytes) -> list[bytes]:
    found, follow = [], Pieces()
    while len(line) >= LONGEST:
        place = place_of_cut(line, LONGEST)
        found.append(follow.cleaned(line[:place], redacted, cut=True))
        line = line[place:]
    return [*found, follow.cleaned(line, redacted, cut=False)]


@pytest.mark.parametrize("offset", range(940, 1040, 3))
@pytest.mark.parametrize("form", [b"access_token=%s&x", b'"password": "%s", x', b"Bearer %s x"])
def test_a_secret_at_the_cut_is_in_neither_piece(offset: int, form: bytes) -> None:
    line = b"a " * (offset // 2) + form % SECRET + b" b" * 600
    found = pieces(line)
    assert len(found) > 1
    for size in range(4, len(SECRET) - 3):
        assert not any(piece.endswith(SECRET[:size]) for piece in found)
        assert not any(piece.startswith(SECRET[-size:]) for piece in found)
    assert SECRET not in b"".join(found)


def test_a_value_longer_than_a_piece_is_removed_from_each() -> None:
    line = b"GET /?access_token=" + b"MDAx" * 1000 + b"&since=s1"
    found = b"".join(pieces(line))
    assert b"MDAx" not in found
    assert found.endswith(b"&since=s1")


def test_nothing_is_lost_where_there_is_no_secret() -> None:
    line = bytes(range(97, 123)) * 500
    assert b"".join(pieces(line)) == line
