"""Checks of variables and of the operator's files."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import RESTART, Place
from ganglion.doctor.unavailable import Unavailable
from ganglion.errors import Problem
from ganglion.settings.owned_options import BY_OPTION
from ganglion.settings.reading import LARGEST_SECRET, read_text

# Options of the operator's files that no part of Synapse's own source names.
# `worker_` options and those of modules are read elsewhere.
WORD = re.compile(r"""["']([A-Za-z0-9_.]+)["']""")
# The attributes of Synapse's models are the names of options too.
ATTRIBUTE = re.compile(r"^    ([a-z0-9_]+): ", re.MULTILINE)
EXPERIMENTS = "experimental_features"


def judge_configuration(problems: tuple[Problem, ...]) -> Iterator[Finding]:
    """Judge the problems for which the next start would be refused."""
    for problem in problems:
        where = problem.variable if problem.value is None else f"{problem.variable}={problem.value}"
        yield bad(
            f"{where}: {problem.message}",
            "the server does not start with this configuration",
            problem.hint,
        )
    if not problems:
        yield good("the variables and your files are valid")


def judge_overridden(notes: tuple[str, ...]) -> Iterator[Finding]:
    """Judge the remarks on settings that do not do what they say."""
    for note in notes:
        yield notice(
            note,
            "the setting does not do what it says",
            "remove it, or see docs/configuration.md",
        )
    if not notes:
        yield good("every variable and every option of your files is in effect")


def observe_data(place: Place) -> str | None:
    """Return the data directory if it holds no server; None if it does."""
    found = place.running or Path(place.settings.paths.server_json).exists()
    return None if found else place.settings.data


def judge_data(empty: str | None) -> Iterator[Finding]:
    """Judge a directory without a server, of which the other checks have little to say."""
    if empty is not None:
        yield notice(
            f"there is no server in {empty}: the next start makes a new one",
            "if you have a server, this is not its directory, or its volume is not mounted here",
            "docker run --rm -v VOLUME:/data … ganglion doctor"
            "    # without Docker: set GANGLION_DATA to the server's directory",
        )
    else:
        yield good("the data directory holds a server")


def observe_overridden(place: Place) -> tuple[str, ...]:
    """Observe remarks on variables and options that are replaced or have no effect."""
    if place.plan is None:
        raise Unavailable("the configuration does not work")
    return place.notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options that the files set, with the file of each, and the names that Synapse knows."""

    sources: Mapping[str, str]
    experiments: tuple[str, ...]
    known: frozenset[str]
    known_experiments: frozenset[str]
    version: str


def observe_options(place: Place) -> Options:
    """Collect the names in the source of the installed Synapse, without importing it."""
    operator = place.operator
    if not operator.options:
        raise Unavailable("you have no configuration files")
    directory = synapse_directory()
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in (directory / "config").glob("*.py")
    }
    known = frozenset(name for text in texts.values() for name in _names(text))
    return Options(
        sources={name: operator.sources.get(name, "your files") for name in operator.options},
        experiments=tuple(map(str, operator.section(EXPERIMENTS))),
        known=known,
        # Some are read where other options are, as that of delayed events.
        known_experiments=known,
        version=synapse_version(),
    )


def _names(text: str) -> Iterator[str]:
    for word in WORD.findall(text):
        # "rc_login.address" is the option address in rc_login.
        yield from word.split(".")
    yield from ATTRIBUTE.findall(text)


def synapse_directory() -> Path:
    """Return the directory of the installed Synapse. Raises Unavailable."""
    found = find_spec("synapse")
    if found is None or found.origin is None:
        raise Unavailable("Synapse is not installed here")
    return Path(found.origin).parent


def synapse_version() -> str:
    """Return the version of the installed Synapse."""
    from importlib.metadata import version  # noqa: PLC0415

    return version("matrix-synapse")


def judge_options(found: Options) -> Iterator[Finding]:
    """Judge the options whose name the installed Synapse does not read."""
    unknown = [
        (name, source)
        for name, source in found.sources.items()
        if name not in found.known and name not in BY_OPTION and not name.startswith("x-")
    ]
    for name, source in unknown:
        near = difflib.get_close_matches(name, found.known, n=1, cutoff=0.85)
        yield notice(
            f"{source}: Synapse {found.version} does not know the option {name}",
            "it has no effect: it is misspelt, removed from Synapse, or of a module",
            f"{near[0]}: …    # if that is meant; else remove the line from {source}"
            if near
            else f"remove {name} from {source}",
        )
    experiments = [name for name in found.experiments if name not in found.known_experiments]
    source = found.sources.get(EXPERIMENTS, "your files")
    for name in experiments:
        yield notice(
            f"{source}: Synapse {found.version} does not know {EXPERIMENTS}: {name}",
            "it has no effect: the experiment has ended, or its name is misspelt",
            f"remove {name} from {EXPERIMENTS} in {source}",
        )
    if not unknown and not experiments:
        yield good(f"Synapse {found.version} knows every option of your files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The text of WORKERS that runs, and the one that the next start would use."""

    running: str
    next: str


def observe_workers(place: Place) -> Workers:
    """Compare the workers in force with those of the variables."""
    place.need_running()
    if place.plan is None:
        raise Unavailable("the configuration does not work")
    running = read_text(place.settings.paths.workers, LARGEST_SECRET).strip()
    return Workers(running=running, next=place.plan.topology.text or "none")


def judge_workers(found: Workers) -> Iterator[Finding]:
    """Judge whether the next start would run other workers."""
    if found.running == found.next:
        yield good(f"WORKERS is in force: {_short(found.running)}")
        return
    yield notice(
        f"other workers run than WORKERS asks for: {_short(found.running)} runs, and"
        f" {_short(found.next)} would start",
        "the change takes effect at the next start",
        RESTART,
    )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else f"{words[:59]}…"


CHECKS = (
    Check(
        name="configuration",
        about="the variables and your files: every problem for which the next start is refused",
        observe=lambda place: place.problems,
        judge=judge_configuration,
    ),
    Check(
        name="data",
        about="whether there is a server in the data directory",
        observe=observe_data,
        judge=judge_data,
    ),
    Check(
        name="overridden",
        about="variables and options that are replaced, ignored, or have no effect",
        observe=observe_overridden,
        judge=judge_overridden,
    ),
    Check(
        name="unknown-options",
        about="options, and experimental features, that the installed Synapse does not know (any"
        " longer)",
        observe=observe_options,
        judge=judge_options,
    ),
    Check(
        name="workers",
        about="whether the workers that run are those of `WORKERS`",
        observe=observe_workers,
        judge=judge_workers,
    ),
)
