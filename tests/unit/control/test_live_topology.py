"""The topology that the control application sees, from the file with the workers in force."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ganglion.control.config import LiveTopology
from tests.plans import plan


@pytest.fixture
def run() -> Iterator[str]:
    """A run directory with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield path


def test_it_follows_the_file_and_needs_no_other_first(run: str) -> None:
    """Without its workers, a setting such as this one is an error."""
    settings = replace(plan({}).settings, run=run, restrict_federation=True)
    live = LiveTopology(settings)
    assert [process.name for process in live().processes] == ["main"]
    workers = Path(settings.paths.workers)
    workers.parent.mkdir(parents=True, exist_ok=True)
    workers.write_text("federation_sender")
    names = ["main", "federation_sender1"]
    assert [process.name for process in live().processes] == names
    assert [process.name for process in LiveTopology(settings)().processes] == names
    workers.unlink()
    assert [process.name for process in live().processes] == names
