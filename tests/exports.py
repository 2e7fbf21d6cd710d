"""Exports of plans that are made without a disk."""

from collections.abc import Mapping
from typing import Any

import yaml

from ganglion.export.machine_targets import MACHINE_TARGETS
from ganglion.export.place import Place, placed
from ganglion.files.file import File
from ganglion.topology.roles import PRESETS
from tests.plans import plan, secrets_of, settings

# Memory for the largest preset, and a name that no other server has.
ENVIRON = {"SYNAPSE_SERVER_NAME": "example.com", "GANGLION_MEMORY": "16G", "GANGLION_CPUS": "4"}
RENDER = {target.name: target.render for target in MACHINE_TARGETS}
PLACE = Place(
    etc="/etc/ganglion",
    data="/var/lib/ganglion",
    run="/run/ganglion",
    python="/opt/venvs/matrix-synapse/bin/python",
)
LAYOUTS = tuple(PRESETS)


def exported(target: str, workers: str, **environ: str) -> dict[str, File]:
    """Return the files of an export by their paths. Raises ConfigError."""
    variables = {**ENVIRON, "WORKERS": workers, **environ}
    found = placed(plan(variables), PLACE, secrets_of(settings(**variables)))
    files = RENDER[target](found, PLACE)
    by_path = {file.path: file for file in files}
    assert len(by_path) == len(files)
    return by_path


def below(files: Mapping[str, File], directory: str) -> dict[str, Any]:
    """Parse the YAML files below a directory, by their names."""
    start = f"{directory}/"
    return {
        path.removeprefix(start).removesuffix(".yaml"): yaml.safe_load(file.content)
        for path, file in files.items()
        if path.startswith(start) and path.endswith(".yaml")
    }
