"""Jinja over conf-templates/, with a filter for each syntax that is written."""

import shlex
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).resolve().parents[3] / "conf-templates"


def fill(template: str, **values: object) -> str:
    """The text of a template of conf-templates/ with its values. An unknown value is an error."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML: each syntax has its own filter
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        nginx=nginx_string,
        ini=ini_value,
        command=command_line,
        postgresql=postgresql_string,
        redis=redis_string,
    )
    return environment


def nginx_string(text: str) -> str:
    """A quoted string of nginx's syntax, whose parser undoes backslashes once.

    http://nginx.org/en/docs/dev/development_guide.html; a `$` is not escaped: it only
    occurs in the patterns of maps, where it marks the end.
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def ini_value(text: str) -> str:
    """A value of supervisord's INI syntax: `%` starts an expansion, ` ;` and ` #` a comment."""
    if any(character in text for character in "\n\r;#"):
        raise ValueError(f"{text!r} cannot be written into supervisord's configuration")
    return text.replace("%", "%%")


def command_line(words: tuple[str, ...]) -> str:
    """A command of supervisord's, which it splits as a shell would."""
    return ini_value(shlex.join(words))


def postgresql_string(text: str) -> str:
    """A quoted string of postgresql.conf.

    https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-CONFIGURATION-FILE
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def redis_string(text: str) -> str:
    """A quoted string of redis.conf: in double quotes, as a backslash stands for itself in single
    ones and so could not be the last character. sdssplitargs in Redis's src/sds.c.
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
