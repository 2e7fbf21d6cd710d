"""The topology that the control application sees, from the file with the workers in force."""

from dataclasses import replace
from pathlib import Path

from ganglion.control.config import LiveTopology
from tests.plans import plan


def test_it_follows_the_file_and_needs_no_other_first(tmp_path: Path) -> None:
    """Without its workers, a setting such as this one is an error."""
    settings = replace(plan({}).settings, run=str(tmp_path), restrict_federation=True)
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
