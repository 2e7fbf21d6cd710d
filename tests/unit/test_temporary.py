"""Temporary files go to the run directory where no usual place can be written."""

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
