"""How a plan is assembled, and the files that follow from it.

Rendering is pure: it does not touch the disk.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from ganglion.data import applied_workers
from ganglion.errors import ConfigError
from ganglion.files.file import File
from ganglion.machine import installed
from ganglion.machine.installed import Machine
from ganglion.programs import nginx, registry, supervisord_conf
from ganglion.programs.program import Plan
from ganglion.programs.registry import TYPICAL, share_out
from ganglion.programs.synapse import options
from ganglion.routing import operator_routes
from ganglion.settings import adoption, environment, operator_files, part_problems, places
from ganglion.settings.reading import LARGEST_SECRET, read_text
from ganglion.settings.secrets import placeholders
from ganglion.settings.variables import Settings
from ganglion.topology import auto, topology
from ganglion.topology.topology import Topology

T = TypeVar("T")

# The file with the workers in force, for `ready`: WORKERS=auto may choose others by then, after a
# change of the container's limits.
WORKERS = "workers"
# The file with the addresses that the image's health check asks.
ALIVE = "alive"


def build_topology(settings: Settings, machine: Machine) -> Topology:
    """Build the topology, with the largest layout that fits the budget for WORKERS=auto.

    Raises ConfigError.
    """
    return auto.build(
        settings, machine.limits, lambda topology: share_out(settings, topology, machine)
    )


def render(plan: Plan) -> tuple[File, ...]:
    """Every file of the `conf` directory, in the order of their paths."""
    files = (
        *registry.files(plan),
        supervisord_conf.render(plan),
        File(path=WORKERS, content=f"{plan.topology.text or 'none'}\n"),
        *_alive(plan),
    )
    return tuple(sorted(files, key=lambda file: file.path))


def _alive(plan: Plan) -> Iterator[File]:
    """Yield the addresses that the image's health check asks in a container with a part.

    It asks for the life of its own processes alone: nothing is gained if a container ends because
    another one is down.
    """
    settings = plan.settings
    if not settings.partial:
        return
    lines = [f"{item.http.reached} {item.http.port} /health\n" for item in plan.topology.here]
    if settings.runs_nginx:
        lines.append(f"{settings.reachable_at} {settings.http_port} {nginx.ALIVE}\n")
    yield File(path=ALIVE, content="".join(lines))


def file_notes(plan: Plan) -> tuple[str, ...]:
    """List keys of the operator's files without effect, and variables that they override."""
    if not plan.topology.here:
        return ()
    overrides = options.overrides(plan.settings, plan.topology, plan.budget, plan.operator)
    return adoption.notes(plan.settings, plan.operator, overrides)


def assemble(
    environ: Mapping[str, str], changed: Callable[[Settings], Settings] = lambda settings: settings
) -> Plan:
    """Plan a server from its environment and the operator's files.

    The plan has a typical machine's programs, the limits of this machine and placeholders for
    secrets: `run` replaces all three. `changed` overrides settings before anything depends on them.

    Raises ConfigError with the problems of all stages together.
    """
    machine = typical_machine()
    settings, found = environment.read(environ, _read, os.path.exists)
    problems = list(found)
    try:
        settings = applied_workers.in_force(settings)
    except ConfigError as error:
        problems.extend(error.problems)
    settings = changed(settings)

    def attempt(stage: Callable[[Settings], T]) -> T | None:
        try:
            return stage(settings)
        except ConfigError as error:
            problems.extend(error.problems)
            return None

    try:
        places.check(settings)
    except ConfigError as error:
        # Whatever is read in such a directory would only repeat it.
        raise ConfigError([*problems, *error.problems]) from error
    operator = attempt(operator_files.load)
    if operator is not None:
        settings = attempt(lambda given: adoption.adopt(given, operator)) or settings
        problems.extend(part_problems.problems(settings, frozenset(operator.options)))
    layout = attempt(lambda given: build_topology(given, machine))
    budget = attempt(lambda given: None if layout is None else share_out(given, layout, machine))
    routes = attempt(lambda given: operator_routes.load(given, layout))
    if problems or layout is None or budget is None or operator is None or routes is None:
        raise ConfigError(problems)
    return Plan(
        settings=settings,
        topology=layout,
        budget=budget,
        machine=machine,
        operator=operator,
        routes=routes,
        secrets=placeholders(),
    )


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings alone, with the database that the data directory holds.

    Raises ConfigError.
    """
    settings = read_variables(environ)
    places.check(settings)
    return adoption.adopt(settings, operator_files.load(settings))


def read_variables(environ: Mapping[str, str]) -> Settings:
    """Read the settings from variables and their files alone. Raises ConfigError."""
    return environment.from_environ(environ, _read, os.path.exists)


def notes_on(plan: Plan, environ: Mapping[str, str]) -> tuple[str, ...]:
    """List remarks for the operator on a plan that works."""
    return (
        *plan.topology.notes,
        *environment.notes(environ, plan.settings),
        *applied_workers.notes(plan.settings),
        *file_notes(plan),
    )


def typical_machine() -> Machine:
    """Describe a typical machine with the memory and processors of this one."""
    return replace(TYPICAL, limits=installed.here())


def with_workers(text: str) -> Callable[[Settings], Settings]:
    """Return a function that gives settings another text of WORKERS."""
    return lambda settings: replace(settings, workers=text, repeats_add_up=False)


def running_workers(settings: Settings) -> str | None:
    """Return the WORKERS text in force in the running server. None if none has started."""
    try:
        return _read(settings.paths.workers)
    except OSError:
        return None


def running_topology(settings: Settings) -> Topology:
    """Find the topology of the running server, or of the one that would start."""
    workers = running_workers(settings)
    if workers is None:
        return build_topology(settings, typical_machine())
    return topology.build(with_workers(workers)(settings))


def _read(path: str) -> str:
    """Read the file of a secret, or one of the run directory. Raises OSError and ValueError."""
    return read_text(path, LARGEST_SECRET)
