"""Which processes run in this container, and at which host and port each process is.

Decision 0039: docs/decisions/0039-parts-of-one-topology.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from ganglion.errors import ConfigError, Problem
from ganglion.settings import parsers
from ganglion.settings.parts import NGINX, OTHERS, host_of
from ganglion.settings.variables import Settings
from ganglion.topology.roles import BY_NAME

EVERYWHERE = "0.0.0.0"  # noqa: S104 - other containers connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """The words that a process answers to, besides its name."""

    group: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a process. `number` counts the processes of the same host from 0."""

    here: bool
    host: str
    number: int


def places(settings: Settings, names: Mapping[str, Name]) -> dict[str, Place]:
    """Return the place of each process, by its name. `names` are in the order of WORKERS.

    Raises ConfigError with every word that names nothing, and every process without a host.
    """
    if not settings.partial:
        return {name: Place(here=True, host="", number=number) for number, name in enumerate(names)}
    words = [("GANGLION_ONLY", word) for word in settings.only if word != NGINX]
    words += [("GANGLION_HOSTS", word) for word, _ in settings.hosts if word != OTHERS]
    problems = [_unknown(*pair, names) for pair in words if not meant(pair[1], names)]
    here = {name for word in settings.only for name in meant(word, names)}
    hosts: dict[str, str] = {}
    for name in names:
        try:
            hosts[name] = _host(settings, name, names)
        except parsers.Invalid as invalid:
            problems.append(
                Problem(
                    variable="GANGLION_HOSTS",
                    value=name,
                    message=f"makes a host that {invalid.message}",
                    hint=f"add {name}=HOST to GANGLION_HOSTS",
                )
            )
    problems.extend(_nowhere(hosts))
    if problems:
        raise ConfigError(problems)
    # Counted for each host, so that a new process elsewhere leaves all ports as they are.
    numbers: dict[str, int] = {}
    found_places: dict[str, Place] = {}
    for name, host in hosts.items():
        numbers[host] = numbers.get(host, -1) + 1
        found_places[name] = Place(here=name in here, host=host, number=numbers[host])
    return found_places


def meant(word: str, names: Mapping[str, Name]) -> tuple[str, ...]:
    """Return the processes that a word means: one of that name, else of that entry or role."""
    if word in names:
        return (word,)
    of_group = tuple(name for name, words in names.items() if words.group == word)
    return of_group or tuple(name for name, words in names.items() if word in words.roles)


def _host(settings: Settings, name: str, names: Mapping[str, Name]) -> str:
    """Return the host of a process, empty without one. Raises parsers.Invalid.

    Its own entry comes before that of its group, of its roles and of all others.
    """
    templates = dict(settings.hosts)
    words = (name, names[name].group, *names[name].roles, OTHERS)
    template = next((templates[word] for word in words if word in templates), None)
    return "" if template is None else host_of(template, name, names[name].group)


def _nowhere(hosts: Mapping[str, str]) -> Iterator[Problem]:
    lost = [name for name, host in hosts.items() if not host]
    if lost:
        many = len(lost) > 1
        yield Problem(
            variable="GANGLION_HOSTS",
            value=None,
            message=f"gives no host to {', '.join(lost)}: the other processes could not reach"
            f" {'them' if many else 'it'}",
            hint=f"add {lost[0]}=HOST{' and so on' if many else ''}, or *={{process}} if each"
            " container has the name of its process",
        )


def _unknown(variable: str, word: str, names: Mapping[str, Name]) -> Problem:
    groups = [words.group for words in names.values()]
    roles = [role for words in names.values() for role in words.roles]
    known = list(dict.fromkeys([*names, *groups, *roles, NGINX]))
    near = get_close_matches(word, known, n=1)
    if word in BY_NAME:
        hint = "add the role to WORKERS, or remove it here"
    elif near:
        hint = f"did you mean {near[0]}?"
    else:
        hint = f"choose among {', '.join([*dict.fromkeys(groups)][:12])} and {NGINX}"
    return Problem(
        variable=variable,
        value=word,
        message="names no process, entry or role of WORKERS",
        hint=hint,
    )
