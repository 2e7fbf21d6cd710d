"""Fixtures of the image tests, and the logs of containers when a test fails."""

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.image.engine import Container, run

# Enough lines to show a traceback, on one or two screens.
LINES_SHOWN = 80
# In seconds: a first build fetches some 200 MB.
BUILD_WITHIN = 900
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test time for the build: the first one waits for it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(BUILD_WITHIN + 300))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001
    call: pytest.CallInfo[None],  # noqa: ARG001
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of each container's log to the report of a failure."""
    report = yield
    if report.failed:
        for container in Container.alive:
            lines = container.log().splitlines()[-LINES_SHOWN:]
            report.sections.append((f"log of container {container.id[:12]}", "\n".join(lines)))
    return report


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the image, which is built if it is out of date."""
    name = os.environ.get("GANGLION_IMAGE") or "ganglion"
    # One process of a run builds it. The others find it up to date.
    with (tmp_path_factory.getbasetemp().parent / "image.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("scripts/build", timeout=BUILD_WITHIN, environment={"GANGLION_IMAGE": name})
    return name
