"""Everything decided so far → the files to write. Pure: rendering does not touch the disk."""

from dataclasses import dataclass
from pathlib import Path

from ganglion.budget import Budget
from ganglion.files import File
from ganglion.machine import Machine
from ganglion.operator_files import OperatorFiles
from ganglion.operator_routes import OperatorRoutes
from ganglion.render import nginx, servers, supervisord, synapse
from ganglion.secrets import Secrets
from ganglion.settings import Settings
from ganglion.topology import Topology

# What rendered files and directories are at the top.
TOP = frozenset(
    {"nginx.conf", "postgresql", "redis.conf", "secrets", "supervisord.conf", "synapse"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the files depend on."""

    settings: Settings
    topology: Topology
    budget: Budget
    machine: Machine
    operator: OperatorFiles
    routes: OperatorRoutes
    secrets: Secrets


def render(plan: Plan) -> tuple[File, ...]:
    """Every file of the `conf` directory, in the order of their paths."""
    files = (
        *synapse.render(plan.settings, plan.topology, plan.budget, plan.operator, plan.secrets),
        *servers.render(plan.settings, plan.budget, plan.machine, plan.secrets),
        *nginx.render(plan.settings, plan.topology, plan.machine, plan.operator, plan.routes),
        supervisord.render(plan.settings, plan.topology, plan.machine, plan.operator),
    )
    return tuple(sorted(files, key=lambda file: file.path))


def holds_nothing_else(directory: Path) -> bool:
    """Whether a directory may be replaced: it is not there, empty, or only holds what an earlier
    rendering left. Raises OSError.
    """
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    if not names:
        return True
    ours = directory / "synapse" / "overrides.yaml"
    return names <= TOP and ours.is_file() and ours.read_bytes().startswith(synapse.HEADER.encode())
