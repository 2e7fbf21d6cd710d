"""The readers of configuration files that tests use."""

import pytest

from tests.plans import rendered
from tests.syntax import (
    Directive,
    Unreadable,
    nginx,
    postgresql,
    read_all,
    redis,
    supervisord,
)


def words(text: str) -> list[tuple[str, ...]]:
    """The words of the directives of a flat nginx.conf."""
    return [directive.words for directive in nginx(text).block or ()]


def test_nginx() -> None:
    text = """\
# a comment; with { and "
user www-data; map "$a $b" $c {
    "~^x\\\\.{2}\\d$" 'it"s';
}
listen [::]:80; # and { another
"""
    assert nginx(text) == Directive(
        words=(),
        block=(
            Directive(words=("user", "www-data")),
            Directive(
                words=("map", "$a $b", "$c"),
                block=(Directive(words=("~^x\\.{2}\\d$", 'it"s')),),
            ),
            Directive(words=("listen", "[::]:80")),
        ),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b;", ("a", "b")),
        ("a\tb\n;", ("a", "b")),
        ("a b#c;", ("a", "b#c")),
        ('a "b;{}#";', ("a", "b;{}#")),
        (r'a "\"\\\n\d";', ("a", '"\\\n\\d')),
        ("a '\"';", ("a", '"')),
        (r"a b\;c;", ("a", r"b\;c")),
        ("a ${b}c;", ("a", "${b}c")),
    ],
)
def test_nginx_words(text: str, expected: tuple[str, ...]) -> None:
    assert words(text) == [expected]


@pytest.mark.parametrize(
    "text", ["a b", "a {", "a { b; ", "}", "a; }", ";", 'a "b', 'a "b;', "a } b;", 'a { b "}";']
)
def test_broken_nginx_files_are_rejected(text: str) -> None:
    with pytest.raises(Unreadable):
        nginx(text)


def test_blocks_are_found_by_their_names() -> None:
    tree = nginx("http { server { listen 1; listen 2; } server { listen 3; } listen 4; }")
    assert [found.words[1] for found in tree.all("http", "server", "listen")] == ["1", "2", "3"]


def test_redis() -> None:
    assert redis('port 0\n  # comment\n\nsave ""') == [["port", "0"], ["save", ""]]
    assert redis(r"""requirepass "a\"b\\c\x41\n'" """) == [["requirepass", "a\"b\\cA\n'"]]
    assert redis(r"dir 'it\'s \\ there'") == [["dir", "it's \\\\ there"]]


@pytest.mark.parametrize("text", ['a "b', "a 'b", 'a "b"c', r"a 'b\'", r"a 'b\\'", r'a "b\"'])
def test_broken_redis_files_are_rejected(text: str) -> None:
    with pytest.raises(Unreadable):
        redis(text)


def test_postgresql() -> None:
    assert postgresql("# x\na = 'b''c\\\\d'\nn=1 # one\noff = off\n") == {
        "a": "b'c\\d",
        "n": "1",
        "off": "off",
    }
    for text in ("a = 'b", "a = b c", "a = 'b'c", "a = 1\na = 2", "a = 'b\n'"):
        with pytest.raises(Unreadable):
            postgresql(text)


def test_supervisord() -> None:
    assert supervisord("[a]\nb = c ; d\n[program:x]\ncommand = y\n") == {
        "a": {"b": "c"},
        "program:x": {"command": "y"},
    }


def test_every_rendered_file_can_be_read() -> None:
    files = rendered({"WORKERS": "full", "SYNAPSE_ENABLE_METRICS": "yes"})
    assert all(found is not None for found in read_all(files).values())
