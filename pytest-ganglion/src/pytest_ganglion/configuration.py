"""What is wanted: the session's options, and the server that a test's markers ask for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A row of the table of options: `--ganglion-image`, `ganglion_image` in the ini file and
    `PYTEST_GANGLION_IMAGE` in the environment are one. The command line counts most, then the
    environment.
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
        doc="what runs the server: docker, native (a program of this machine), or the URL of a"
        " server in test mode that already runs",
    ),
    Option(name="ganglion_image", default="ganglion", doc="the Docker image"),
    Option(
        name="ganglion_command",
        default="ganglion",
        doc="the program, where it is native; a relative path is relative to the ini file",
    ),
    Option(
        name="ganglion_control",
        default="",
        doc="the URL of the control port of a server that already runs (its host, port 9469)",
    ),
    Option(name="ganglion_workers", default="small", doc="WORKERS where no marker says other"),
    Option(
        name="ganglion_start_within", default="120", doc="seconds that a server has to get ready"
    ),
    Option(
        name="ganglion_log_lines", default="200", doc="lines of log shown with a test that fails"
    ),
    Option(
        name="ganglion_logs", default="", doc="a directory to keep the whole log of each server in"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The session's options. `logs` is None where no log is to be kept."""

    how: str
    image: str
    command: str
    control: str
    workers: str
    start_within: float
    log_lines: int
    logs: Path | None
    # What a relative path of the command is relative to: the directory of the ini file.
    root: Path

    @property
    def remote(self) -> bool:
        """Whether the server already runs, and is not ours."""
        return self.how.startswith(("http://", "https://"))


def read_options(look_up: Callable[[Option], str], root: Path, here: Path) -> Options:
    """The options out of the text of each. Paths of the command line are relative to `here`.

    Raises pytest.UsageError for one that cannot be used.
    """
    texts = {option.name: look_up(option) for option in OPTIONS}
    how = texts["ganglion"]
    if how not in ("docker", "native") and not how.startswith(("http://", "https://")):
        raise pytest.UsageError(
            f"--ganglion={how}: say docker, native, or the URL of a server that runs"
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
        raise pytest.UsageError(f"{name}={texts[name]}: say a number, 0 or more")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A server that tests ask for. Tests with equal ones share it.

    `environment` are variables of Ganglion's, `files` what is put into the data directory, by its
    path there: pairs, as mappings cannot be told apart by their hash.
    """

    workers: str
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """What the server is told, wherever it runs."""
        told = {"WORKERS": self.workers, "GANGLION_TEST_MODE": "yes", **dict(self.environment)}
        return {name: value for name, value in told.items() if value}

    @property
    def registers_services(self) -> bool:
        """Whether there are files that register application services."""
        return any(path.startswith("appservices/") for path, _ in self.files)

    def __str__(self) -> str:
        words = [
            f"WORKERS={self.workers}",
            *(f"{name}={value}" for name, value in self.environment),
        ]
        return " ".join([*words, *(path for path, _ in self.files)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a test wants: a server, and whether it must be clean."""

    configuration: Configuration
    reset: bool


KNOWN = ("workers", "environment", "files", "reset")


def wanted(marks: Iterable[pytest.Mark], options: Options) -> Wanted:
    """What the markers of a test come to. The nearest comes first and counts most; variables and
    files of all of them are put together.

    Raises pytest.UsageError for what no marker can say.
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
