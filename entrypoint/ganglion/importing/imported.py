"""Everything that an import comes to, as one value, and how it is printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.importing.duties import duties
from ganglion.importing.findings import Fate, Finding, OldServer
from ganglion.importing.keys import options
from ganglion.importing.names import name_workers
from ganglion.topology.topology import MOST_WORKERS
from ganglion.topology.workers_syntax import parse_workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The same server for Ganglion.

    `names` maps each old worker to its new name. `kept` are the options for homeserver.d; they
    contain secrets, which are never printed.
    """

    server_name: str
    workers: str
    variables: Mapping[str, str]
    names: Mapping[str, str]
    roles: Mapping[str, tuple[str, ...]]
    kept: Mapping[str, Any]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def interpret(server: OldServer) -> Imported:
    """Say what Ganglion needs to do the same. Raises ConfigError with every problem."""
    problems: list[Problem] = []
    found = work = None
    try:
        work = duties(server)
    except ConfigError as error:
        problems.extend(error.problems)
    senders = work.lists.get("federation_sender", ()) if work else ()
    if work and not senders:
        senders = tuple(item.name for item in work.workers if "federation_sender" in item.roles)
    try:
        found = options(server, senders)
    except ConfigError as error:
        problems.extend(error.problems)
    if work is None or found is None:
        raise ConfigError(problems)
    if len(work.workers) > MOST_WORKERS:
        message = f"{len(work.workers)} workers; the maximum is {MOST_WORKERS}"
        raise ConfigError([_problem(message, "remove the files of some")])
    named = name_workers(work.workers, work.lists)
    wrong = parse_workers(named.text).problems
    if wrong:
        raise ConfigError(list(wrong))
    server_name = str(
        server.options.get("server_name", server.variables.get("SYNAPSE_SERVER_NAME"))
    )
    variables = {"SYNAPSE_SERVER_NAME": server_name, "WORKERS": named.text, **found.variables}
    variables |= {key: value for key, value in server.variables.items() if key not in variables}
    # Synapse's worker image makes the workers' files from it; both variables at once are an error.
    types = variables.get("SYNAPSE_WORKER_TYPES")
    if types and not work.workers:
        del variables["WORKERS"]
    return Imported(
        server_name=server_name,
        workers=variables.get("WORKERS", types or "none"),
        variables=variables,
        names=named.names,
        roles={named.names[worker.name]: worker.roles for worker in work.workers},
        kept={key: value for key, value in found.kept.items() if key != "server_name"},
        findings=(*server.findings, *found.findings),
        notes=(*work.notes, *named.notes, *_renaming(named.names, work.lists), *found.notes),
    )


def _renaming(names: Mapping[str, str], lists: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Explain new names of workers that a list shards by."""
    found = []
    for role, members in lists.items():
        changed = [name for name in members if names[name] != name]
        if changed:
            found.append(
                f"{role}: {', '.join(f'{name} becomes {names[name]}' for name in changed)}; the"
                " number in the list stays, so no room, user or server moves between workers"
            )
    return found


def _problem(message: str, hint: str) -> Problem:
    return Problem(variable="PATH", value=None, message=message, hint=hint)


def counts(findings: tuple[Finding, ...]) -> dict[str, int]:
    """Return the number of options of each fate."""
    return {fate.value: sum(item.fate is fate for item in findings) for fate in Fate}
