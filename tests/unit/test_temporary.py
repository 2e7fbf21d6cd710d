"""Temporary files go to the run directory where no usual place can be written."""

import pytest

from ganglion.errors import ConfigError
from ganglion.machine import temporary


def none_found() -> str:
    raise FileNotFoundError


def test_a_usual_place_stays() -> None:
    environ = {"TMPDIR": "/var/tmp"}  # noqa: S108 - only the name
    temporary.ensure(environ, "/run/ganglion/temporary", lambda: "/var/tmp")  # noqa: S108
    assert environ == {"TMPDIR": "/var/tmp"}  # noqa: S108


def test_without_one_the_run_directory_is_named() -> None:
    environ: dict[str, str] = {}
    temporary.ensure(environ, "/run/ganglion/temporary", none_found)
    assert environ == {"TMPDIR": "/run/ganglion/temporary"}


def test_a_verb_that_needs_one_says_so() -> None:
    temporary.check(lambda: "/var/tmp")  # noqa: S108
    with pytest.raises(ConfigError, match="no temporary file can be made"):
        temporary.check(none_found)
