"""Make plans and files from variables, without a disk or a machine."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ganglion.control.config import ControlConfig
from ganglion.errors import ConfigError
from ganglion.files.file import File
from ganglion.machine.installed import Machine
from ganglion.plan import build_topology, render
from ganglion.programs.program import Plan
from ganglion.programs.registry import TYPICAL, share_out
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.settings.environment import from_environ
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.secrets import GENERATED, GIVEN, Secrets, placeholders
from ganglion.settings.variables import Settings
from ganglion.topology import topology


def no_file(path: str) -> str:
    """Stand in for a file system without files."""
    raise FileNotFoundError(2, "No such file or directory", path)


def settings(**environ: str) -> Settings:
    """Read settings from variables. Raises ConfigError."""
    return from_environ(environ, no_file)


def topology_of(workers: str, **environ: str) -> topology.Topology:
    """Build the topology of a text of WORKERS and other variables. Raises ConfigError."""
    return topology.build(settings(WORKERS=workers, **environ))


def problems(attempt: Callable[[], object]) -> list[str]:
    """Return the whole text of every problem that `attempt` raises."""
    try:
        attempt()
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def said(where: str, message: str, fix: str) -> str:
    """Return the whole text of a problem."""
    return f"{where}: {message}\n    fix: {fix}"


def secrets_of(chosen: Settings) -> Secrets:
    """Return the secrets that variables give, with placeholders for the others."""
    given = {name: getattr(chosen, name) for name in (*GENERATED, *GIVEN, "signing_key")}
    return replace(placeholders(), **{name: text for name, text in given.items() if text})


def plan(
    environ: Mapping[str, str],
    *,
    machine: Machine = TYPICAL,
    operator: OperatorFiles | None = None,
    routes: OperatorRoutes | None = None,
) -> Plan:
    """Make the whole plan. Raises ConfigError."""
    return plan_of(
        from_environ(environ, no_file), machine=machine, operator=operator, routes=routes
    )


def plan_of(
    chosen: Settings,
    *,
    machine: Machine = TYPICAL,
    operator: OperatorFiles | None = None,
    routes: OperatorRoutes | None = None,
) -> Plan:
    """Make the plan of some settings. Raises ConfigError."""
    layout = build_topology(chosen, machine)
    return Plan(
        settings=chosen,
        topology=layout,
        budget=share_out(chosen, layout, machine),
        machine=machine,
        operator=operator or OperatorFiles(),
        routes=routes or OperatorRoutes(),
        secrets=secrets_of(chosen),
    )


def rendered(environ: Mapping[str, str], **how: Any) -> dict[str, File]:
    """Return every file by its path. Raises ConfigError."""
    return {file.path: file for file in render(plan(environ, **how))}


def options(files: Mapping[str, File], path: str) -> Any:
    """Parse one of the rendered YAML files."""
    return yaml.safe_load(files[path].content)


def as_plain(value: object) -> Any:
    """Convert a value through JSON, so that tuples compare equal to lists."""
    return json.loads(json.dumps(value))


def control_config(run: Path | str = "/run/ganglion", workers: str = "pusher") -> ControlConfig:
    """The control application's configuration of a server in test mode, as it is rendered."""
    files = render(
        plan({"WORKERS": workers, "GANGLION_RUN": str(run), "GANGLION_TEST_MODE": "yes"})
    )
    (text,) = (file.content for file in files if file.path == "control.json")
    return ControlConfig.load(text)
