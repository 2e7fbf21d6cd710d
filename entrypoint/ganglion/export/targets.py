"""THE table of targets: each is a module of this package."""

from collections.abc import Callable
from dataclasses import dataclass

from ganglion.export import compose, kubernetes, swarm
from ganglion.export.deployment import Deployment
from ganglion.files.file import File

Render = Callable[[Deployment, str], tuple[File, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One row.

    `render` gets the deployment and the name of the file, and returns the files. A target that is a
    `directory` returns several, by their paths in it; any other one file. It raises ConfigError
    with everything that the target cannot hold. With `ranges`, the number of readers can change
    within a range of WORKERS; any other target has the lower number.
    """

    name: str
    help: str
    render: Render
    directory: bool = False
    ranges: bool = False


TARGETS: tuple[Target, ...] = (
    Target(
        name="compose",
        help="a file for Docker Compose: each process in a container of its own, on one host",
        render=compose.render,
    ),
    Target(
        name="kubernetes",
        help="a directory for `kubectl apply --kustomize`: docs/kubernetes.md",
        render=kubernetes.render,
        directory=True,
        ranges=True,
    ),
    Target(
        name="swarm",
        help="a stack for Docker Swarm: a service for each unit, on several machines",
        render=swarm.render,
        ranges=True,
    ),
)
BY_NAME = {target.name: target for target in TARGETS}
