"""The filters of the templates: whatever text goes in, its program reads the same text."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from ganglion.files.templates import (
    command_line,
    fill,
    ini_value,
    nginx_string,
    postgresql_string,
    redis_string,
)
from tests.syntax import nginx, postgresql, redis, supervisord

PRINTABLE = st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=["Cc", "Cs"]))
# Comments for supervisord's own parser, and whitespace that it strips.
INI = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#;"), min_size=1
)


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r")))
def test_nginx(text: str) -> None:
    (directive,) = nginx(f"a {nginx_string(text)};").block or ()
    assert directive.words == ("a", text)


@given(text=PRINTABLE)
def test_redis(text: str) -> None:
    assert redis(f"requirepass {redis_string(text)}") == [["requirepass", text]]


@given(text=PRINTABLE)
def test_postgresql(text: str) -> None:
    assert postgresql(f"a = {postgresql_string(text)}") == {"a": text}


@given(text=INI)
def test_ini(text: str) -> None:
    """A % is doubled for the expansion that supervisord does after this."""
    assert supervisord(f"[a]\nb = {ini_value(text)}\n") == {"a": {"b": text.replace("%", "%%")}}


@given(words=st.lists(st.one_of(INI, st.just("two words")), min_size=1))
def test_commands(words: list[str]) -> None:
    """supervisord splits a command as a shell does."""
    text = supervisord(f"[a]\ncommand = {command_line(tuple(words))}\n")["a"]["command"]
    assert shlex.split(text.replace("%%", "%")) == words


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a;b", "a ;b", "a #b"])
def test_what_supervisords_configuration_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be written into supervisord's configuration"):
        ini_value(text)


def test_an_unknown_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'socket' is undefined"):
        fill("redis.conf.j2")
