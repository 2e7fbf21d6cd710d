"""The example suite with the image: as its README says, and as GitHub Actions runs it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.image.engine import ROOT, Container, container, docker

EXAMPLE = ROOT / "tests" / "example"
WORKFLOW = EXAMPLE / ".github" / "workflows" / "test.yml"
# In seconds: an up-to-date build, pip with an index, a server, some ten tests.
RUN_WITHIN = 500
PASSED = re.compile(r"(\d+) passed")
COMMANDS = re.compile(r"^    (\S.*)$", re.MULTILINE)
# As GitHub runs a step: https://docs.github.com/actions/reference/workflow-syntax-for-github-actions
SHELL = ("bash", "-e", "-c")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLE, tmp_path / "example")


def shell(command: str, directory: Path, environment: Mapping[str, str]) -> str:
    """Run a command, which must succeed. Returns its output.

    It is no part of the pytest of this test, whose variables could change what it does.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [*SHELL, command],
        cwd=directory,
        env={**own, **environment},
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def every_test_passed(printed: str) -> None:
    found = PASSED.search(printed)
    assert found, printed
    assert int(found[1]) >= 6


def nothing_left() -> None:
    assert docker("ps", "--all", "--quiet", "--filter", "label=org.pytest.ganglion") == ""


def test_the_commands_of_its_readme_work(image: str, example: Path) -> None:
    text = (EXAMPLE / "README.md").read_text()
    commands = COMMANDS.findall(text.partition("Without Docker")[0])
    assert [command.split()[0] for command in commands] == [
        '"$GANGLION/scripts/build"',
        "python3",
        ".venv/bin/pip",
        ".venv/bin/pytest",
    ]
    environment = {
        "GANGLION": str(ROOT),
        "GANGLION_IMAGE": image,
        "PYTEST_GANGLION_IMAGE": image,
    }
    printed = [shell(command, example, environment) for command in commands]
    every_test_passed(printed[-1])
    nothing_left()


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    """The jobs of the workflow, which has the shape that GitHub's syntax gives it."""
    workflow = yaml.safe_load(WORKFLOW.read_text())
    # YAML 1.1 has `on` for a yes.
    assert set(workflow) == {"name", True, "permissions", "env", "jobs"}
    found: dict[str, Any] = workflow["jobs"]
    for job in found.values():
        assert set(job) <= {"if", "runs-on", "timeout-minutes", "services", "steps"}
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert set(step) <= {"name", "if", "run", "uses", "with"}
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/x@v1"))
    return found


@pytest.fixture
def runner(image: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a step: the workflow's, with this checkout to fetch, and GitHub's own."""
    python = tmp_path / "python"
    subprocess.run([sys.executable, "-m", "venv", str(python)], check=True)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return {
        "PATH": f"{python / 'bin'}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(temporary),
        "GANGLION_SOURCE": str(ROOT),
        "GANGLION_VERSION": "HEAD",
        # Not the image that others of this machine use.
        "GANGLION_IMAGE": image,
        "PYTEST_GANGLION_IMAGE": image,
    }


def steps(job: Mapping[str, Any]) -> Iterator[str]:
    return (step["run"] for step in job["steps"] if "run" in step)


def test_the_workflow_works(jobs: Any, runner: dict[str, str], example: Path) -> None:
    printed = [shell(command, example, runner) for command in steps(jobs["fixture"])]
    every_test_passed(printed[-1])
    # The log for failures.
    assert (example / "logs" / "ganglion-1.log").stat().st_size > 0
    nothing_left()


def test_the_workflow_works_with_a_service(
    jobs: Any, image: str, runner: dict[str, str], example: Path
) -> None:
    """GitHub publishes fixed ports; here Docker chooses free ones."""
    service = jobs["service"]["services"]["ganglion"]
    assert service["image"] == "${{ vars.GANGLION_IMAGE }}"
    assert service["ports"] == ["8008:8008", "9469:9469"]
    published = ("--publish", "127.0.0.1::9469")
    with container(image, service["env"], *published, operator_files={}) as server:
        server.wait_healthy()
        runner["PYTEST_GANGLION_CONTROL"] = f"http://{address(server, 9469)}"
        *first, last = steps(jobs["service"])
        assert last.count("http://127.0.0.1:8008") == 1
        last = last.replace("http://127.0.0.1:8008", server.base_url)
        for command in first:
            shell(command, example, runner)
        every_test_passed(shell(last, example, runner))


def address(server: Container, port: int) -> str:
    return docker("port", server.id, f"{port}/tcp").splitlines()[0]
