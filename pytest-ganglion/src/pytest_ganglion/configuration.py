"""The options of the session, and the server that a test's markers ask for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A row of the table of options.

    `--ganglion-image`, `ganglion_image` in the ini file and `PYTEST_GANGLION_IMAGE` in the
    environment are one option. The command line overrides the environment, which overrides the
    ini file.
    """

    name: str
    default: str
    doc: str

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return f"PYTEST_{self.name.upper()}"


OPTIONS = (
    Option(
        name="ganglion",
        default="docker",
        doc="where the server runs: docker, native (a program of this machine), or the URL of a"
        " running server in test mode",
    ),
    Option(name="ganglion_image", default="ganglion", doc="the Docker image"),
    Option(
        name="ganglion_command",
        default="ganglion",
        doc="the program for native; a relative path is relative to the ini file",
    ),
    Option(
        name="ganglion_control",
        default="",
        doc="the URL of the control port of a running server (its host, port 9469)",
    ),
    Option(name="ganglion_workers", default="small", doc="WORKERS, if no marker sets it"),
    Option(name="ganglion_start_within", default="120", doc="seconds until a server must be ready"),
    Option(name="ganglion_log_lines", default="200", doc="lines of log shown with a failed test"),
    Option(name="ganglion_logs", default="", doc="a directory for the whole log of each server"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The session's options. `logs` is None if logs are not kept."""

    how: str
    image: str
    command: str
    control: str
    workers: str
    start_within: float
    log_lines: int
    logs: Path | None
    # The directory of the ini file: a relative command is relative to it.
    root: Path

    @property
    def remote(self) -> bool:
        """Whether the server runs already, and the plugin does not start it."""
        return self.how.startswith(("http://", "https://"))


def read_options(look_up: Callable[[Option], str], root: Path, here: Path) -> Options:
    """Parse the options. Paths on the command line are relative to `here`.

    Raises pytest.UsageError for an invalid one.
    """
    texts = {option.name: look_up(option) for option in OPTIONS}
    how = texts["ganglion"]
    if how not in ("docker", "native") and not how.startswith(("http://", "https://")):
        raise pytest.UsageError(
            f"--ganglion={how}: write docker, native, or the URL of a running server"
        )
    logs = texts["ganglion_logs"]
    return Options(
        how=how.rstrip("/"),
        image=texts["ganglion_image"],
        command=texts["ganglion_command"],
        control=texts["ganglion_control"].rstrip("/"),
        workers=texts["ganglion_workers"],
        start_within=_number("ganglion_start_within", texts),
        log_lines=int(_number("ganglion_log_lines", texts)),
        logs=here / logs if logs else None,
        root=root,
    )


def _number(name: str, texts: Mapping[str, str]) -> float:
    try:
        number = float(texts[name])
    except ValueError:
        number = -1
    if number < 0:
        raise pytest.UsageError(f"{name}={texts[name]}: write a number, 0 or more")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A server that tests ask for. Tests with equal configurations share it.

    `environment` has variables of Ganglion, `files` the files of the data directory by their
    paths. Both are pairs, because mappings have no hash.
    """

    workers: str
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the server, wherever it runs."""
        values = {"WORKERS": self.workers, "GANGLION_TEST_MODE": "yes", **dict(self.environment)}
        return {name: value for name, value in values.items() if value}

    @property
    def registers_services(self) -> bool:
        """Whether some files register application services."""
        return any(path.startswith("appservices/") for path, _ in self.files)

    def __str__(self) -> str:
        words = [
            f"WORKERS={self.workers}",
            *(f"{name}={value}" for name, value in self.environment),
        ]
        return " ".join([*words, *(path for path, _ in self.files)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The server that a test asks for, and whether it must be clean."""

    configuration: Configuration
    reset: bool


KNOWN = ("workers", "environment", "files", "reset")


def wanted(marks: Iterable[pytest.Mark], options: Options) -> Wanted:
    """Combine the markers of a test. The nearest comes first and wins.

    Variables and files of all markers are merged. Raises pytest.UsageError for an unknown argument.
    """
    given: dict[str, Any] = {}
    environment: dict[str, str] = {}
    files: dict[str, str] = {}
    for mark in marks:
        unknown = [*(repr(value) for value in mark.args), *(set(mark.kwargs) - set(KNOWN))]
        if unknown:
            raise pytest.UsageError(
                f"pytest.mark.ganglion takes {', '.join(f'{name}=' for name in KNOWN)}"
                f" and not {', '.join(unknown)}"
            )
        given = {**mark.kwargs, **given}
        environment = {**mark.kwargs.get("environment", {}), **environment}
        files = {**mark.kwargs.get("files", {}), **files}
    return Wanted(
        configuration=Configuration(
            workers=given.get("workers", options.workers),
            environment=tuple(sorted(environment.items())),
            files=tuple(sorted(files.items())),
        ),
        reset=given.get("reset", True),
    )
