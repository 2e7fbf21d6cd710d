"""Everything decided so far → the files to write. Pure: rendering does not touch the disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from errno import ENOTDIR
from os import strerror
from pathlib import Path

from ganglion.budget.amounts import Budget
from ganglion.budget.share_out import share_out
from ganglion.data.secrets import Secrets
from ganglion.files.file import File
from ganglion.machine.installed import Machine
from ganglion.programs import control, nginx, servers
from ganglion.programs import supervisord_conf as supervisord
from ganglion.programs.synapse import options as synapse
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from ganglion.topology import auto
from ganglion.topology.topology import Topology

# Names the files beside it that are rendered ones, where a person asked for them.
LISTING = ".rendered"
# Holds the workers that run, for `ready`: WORKERS=auto may come to others by then, where a
# container's limits were changed.
WORKERS = "workers"


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
        *synapse.render(plan.settings, plan.topology, plan.budget, plan.operator, plan.secrets),
        *servers.render(plan.settings, plan.budget, plan.machine, plan.secrets),
        *nginx.render(
            plan.settings, plan.topology, plan.budget, plan.machine, plan.operator, plan.routes
        ),
        supervisord.render(plan.settings, plan.topology, plan.machine, plan.operator),
        *control.render(plan.settings, plan.topology, plan.machine, plan.operator),
        File(path=WORKERS, content=f"{plan.topology.text or 'none'}\n"),
    )
    return tuple(sorted(files, key=lambda file: file.path))


def listing(files: Sequence[File]) -> File:
    """The list of rendered files, for holds_nothing_else."""
    return File(path=LISTING, content="".join(f"{file.path}\n" for file in files))


def holds_nothing_else(directory: Path) -> bool:
    """Whether a directory may be replaced: nothing is in it but what a listing in it names.

    Raises OSError.
    """
    if not directory.exists():
        return True
    if not directory.is_dir():
        raise NotADirectoryError(ENOTDIR, strerror(ENOTDIR), str(directory))
    listed = {LISTING}
    if (directory / LISTING).is_file():
        listed.update((directory / LISTING).read_text(encoding="utf-8").splitlines())
    present = {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    return present <= listed
