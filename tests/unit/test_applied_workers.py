"""The layout of `ganglion apply`: in force until the variable changes."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from ganglion.cli import apply
from ganglion.data import applied_workers
from ganglion.data.applied_workers import Applied
from ganglion.errors import ConfigError
from ganglion.plan import assemble, read_variables
from ganglion.settings.variables import Settings
from tests.unit.test_parts import STORES


def environ(directory: Path, **variables: str) -> dict[str, str]:
    return {
        "GANGLION_DATA": str(directory / "data"),
        "GANGLION_RUN": str(directory / "run"),
        **variables,
    }


def settings(directory: Path, **variables: str) -> Settings:
    return read_variables(environ(directory, **variables))


def keep(directory: Path, applied: Applied) -> Path:
    """Stage a record and move it to its place, as the supervisor does."""
    paths = settings(directory).paths
    Path(paths.data).mkdir(exist_ok=True)
    applied_workers.stage(paths, applied)
    place = Path(paths.applied_workers)
    return place.with_name(f".{place.name}.next").rename(place)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WORKERS": "synchrotron:2"}, "synchrotron=synchrotron:3"),
        ({"WORKERS": "synchrotron:4"}, "synchrotron=synchrotron:4"),
        # The same words, but of the other variable.
        ({"SYNAPSE_WORKER_TYPES": "synchrotron:2"}, "synchrotron=synchrotron:2"),
    ],
)
def test_it_is_in_force_while_the_variable_is_what_it_was(
    short_path: Path, variables: dict[str, str], expected: str
) -> None:
    keep(short_path, Applied(workers="synchrotron:3", variable="synchrotron:2", old_types=False))
    plan = assemble(environ(short_path, **variables))
    assert plan.topology.text == expected
    replaced = expected != "synchrotron=synchrotron:3"
    assert applied_workers.is_out_of_force(settings(short_path, **variables)) is replaced
    assert len(list(applied_workers.notes(plan.settings))) == (not replaced)


def test_a_part_of_a_server_has_no_layout_of_its_own(short_path: Path) -> None:
    keep(short_path, Applied(workers="pusher:2", variable="pusher", old_types=False))
    part = {"WORKERS": "pusher", "GANGLION_ONLY": "main", "GANGLION_HOSTS": "*=host"} | STORES
    assert not Applied(workers="pusher:2", variable="pusher", old_types=False).fits(
        settings(short_path, **part)
    )
    assert applied_workers.in_force(settings(short_path, **part)).workers == "pusher"
    assert applied_workers.is_out_of_force(settings(short_path, **part))
    with pytest.raises(ConfigError, match="would keep the lists of before"):
        apply.run(
            Namespace(workers="pusher:2", reset=False, json=False), environ(short_path, **part)
        )


def test_an_unset_variable_counts(short_path: Path) -> None:
    keep(short_path, Applied(workers="none", variable=None, old_types=False))
    assert assemble(environ(short_path)).settings.workers == "none"
    assert assemble(environ(short_path, WORKERS="auto")).settings.workers == "auto"


def test_without_a_record_the_variable_is_in_force(short_path: Path) -> None:
    chosen = settings(short_path, WORKERS="pusher")
    assert applied_workers.in_force(chosen) is chosen
    assert not applied_workers.is_out_of_force(chosen)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"workers": 1, "variable": None, "old_types": False}),
        json.dumps({"workers": "none", "variable": 2, "old_types": False}),
        json.dumps({"workers": "none", "old_types": False}),
    ],
)
def test_a_damaged_record_is_refused_with_the_way_out(short_path: Path, content: str) -> None:
    place = keep(short_path, Applied(workers="none", variable=None, old_types=False))
    place.write_text(content)
    with pytest.raises(ConfigError) as raised:
        assemble(environ(short_path, WORKERS="pusherr"))
    assert [problem.variable for problem in raised.value.problems] == [str(place), "WORKERS"]
    assert "remove it" in str(raised.value.problems[0])
