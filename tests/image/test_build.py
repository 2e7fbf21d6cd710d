"""The image that scripts/build makes, and its messages."""

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
    assert size < 550e6
    left = docker(
        *("run", "--rm", "--entrypoint", "bash", image, "-c"),
        "ls /var/lib/apt/lists /var/cache/apt /etc/postgresql; type -P gcc pip curl; true",
    )
    assert set(left.split()) <= {"/etc/postgresql:", "/var/cache/apt:", "/var/lib/apt/lists:"}
