"""The table of targets that run plain Synapse on one machine: each is a module of this package."""

from collections.abc import Callable
from dataclasses import dataclass

from ganglion.export import synctl, systemd
from ganglion.export.place import Place
from ganglion.files.file import File
from ganglion.programs.program import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineTarget:
    """One row. `render` gets the plan for a place, and returns all files of a directory.

    `etc` is where the configuration will be, and so its path in the directory; empty for the
    directory itself.
    """

    name: str
    help: str
    render: Callable[[Plan, Place], tuple[File, ...]]
    etc: str = ""


MACHINE_TARGETS: tuple[MachineTarget, ...] = (
    MachineTarget(
        name="systemd",
        help="units of systemd for a machine without containers: docs/without-containers.md",
        render=systemd.files,
        etc="/etc/ganglion",
    ),
    MachineTarget(
        name="synctl",
        help="the directory that Synapse's `synctl start` takes, on a machine without containers",
        render=synctl.files,
    ),
)
MACHINE_BY_NAME = {target.name: target for target in MACHINE_TARGETS}
