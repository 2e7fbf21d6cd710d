"""Everything decided so far → the files to write. Pure: nothing here touches the disk."""

from dataclasses import dataclass

from ganglion.budget import Budget
from ganglion.files import File
from ganglion.machine import Machine
from ganglion.operator_files import OperatorFiles
from ganglion.render import nginx, servers, supervisord, synapse
from ganglion.secrets import Secrets
from ganglion.settings import Settings
from ganglion.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the files depend on."""

    settings: Settings
    topology: Topology
    budget: Budget
    machine: Machine
    operator: OperatorFiles
    secrets: Secrets


def render(plan: Plan) -> tuple[File, ...]:
    """Every file of the `conf` directory, in the order of their paths."""
    files = (
        *synapse.render(plan.settings, plan.topology, plan.budget, plan.operator, plan.secrets),
        *servers.render(plan.settings, plan.budget, plan.machine, plan.secrets),
        nginx.render(plan.settings, plan.topology, plan.machine, plan.operator),
        supervisord.render(plan.settings, plan.topology, plan.machine, plan.operator),
    )
    return tuple(sorted(files, key=lambda file: file.path))
