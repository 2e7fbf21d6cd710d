"""The image that scripts/build makes, and its messages."""

from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.image.engine import docker, run


def test_an_up_to_date_build_prints_nothing(image: str) -> None:
    again = run("scripts/build", environment={"GANGLION_IMAGE": image})
    assert again.stdout + again.stderr == ""


@pytest.mark.parametrize("script", ["build", "base-image"])
def test_the_scripts_have_help(script: str) -> None:
    assert run(f"scripts/{script}", "--help").stdout.startswith(f"Usage: scripts/{script}")
    wrong = run(f"scripts/{script}", "--wrong", check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"Usage: scripts/{script}")


def test_the_image_is_lean(image: str) -> None:
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image))
    print(f"{size / 1e6:.0f} MB")
    assert size < 600e6
    left = docker(
        *("run", "--rm", "--entrypoint", "bash", image, "-c"),
        "ls /var/lib/apt/lists /var/cache/apt /etc/postgresql; type -P gcc pip; true",
    )
    assert set(left.split()) <= {"/etc/postgresql:", "/var/cache/apt:", "/var/lib/apt/lists:"}


def test_the_image_has_the_programs_of_synapses_image(image: str) -> None:
    """Those of the package matrix-synapse, curl, and xmlsec1 for SAML."""
    scripts = {item.name for item in distribution("matrix-synapse").entry_points}
    names = scripts | {"curl", "xmlsec1"}
    found = docker(
        *("run", "--rm", "--entrypoint", "bash", image, "-c"),
        f"type -P {' '.join(sorted(names))}",
    )
    assert {Path(line).name for line in found.split()} == names
