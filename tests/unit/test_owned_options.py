"""The table of options that Ganglion owns: every row does to a file what it says."""

from typing import Any

import pytest

from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.owned_options import (
    BY_OPTION,
    HARMLESS,
    OWNED,
    Fate,
    Owned,
    neutral_values,
    notes,
    refused,
)
from tests.plans import options, rendered

# Worker names of an older server, as a file may have them in each option.
OLD: dict[str, Any] = {
    "instance_map": {"old1": {"host": "localhost", "port": 9093}},
    "stream_writers": {"events": ["old1"], "typing": "old1"},
    "enable_media_repo": False,
}
REPLACED = [row for row in OWNED if row.fate is Fate.REPLACED]
DROPPED = [row for row in OWNED if row.fate is Fate.DROPPED]


def name(row: Owned) -> str:
    return row.option


def test_each_option_has_one_row() -> None:
    assert len(BY_OPTION) == len(OWNED)
    assert {row.fate for row in OWNED} == set(Fate)


@pytest.mark.parametrize("workers", ["none", "full"])
@pytest.mark.parametrize("row", REPLACED, ids=name)
def test_what_is_replaced_is_set_with_workers_and_without(row: Owned, workers: str) -> None:
    """So an old value has no effect, whether the topology uses the option or not."""
    plain = rendered({"WORKERS": workers})
    old = OLD.get(row.option, ["old1"])
    files = rendered({"WORKERS": workers}, operator=OperatorFiles(options={row.option: old}))
    assert files == plain
    if row.option.startswith("worker_"):
        own = [path for path in files if path.startswith("synapse/workers/")]
        assert all(row.option in options(files, path) for path in own)
        assert bool(own) == (workers == "full")
    else:
        assert row.option in options(files, "synapse/overrides.yaml")


@pytest.mark.parametrize("row", DROPPED, ids=name)
def test_what_is_dropped_is_switched_off_where_a_file_sets_it(row: Owned) -> None:
    files = rendered({}, operator=OperatorFiles(options={row.option: "old"}))
    overrides = options(files, "synapse/overrides.yaml")
    if row.neutral is HARMLESS:
        assert row.option not in overrides
    else:
        assert overrides[row.option] == row.neutral
        assert neutral_values({row.option: row.neutral}) == {}
    assert row.option not in options(rendered({}), "synapse/overrides.yaml")


@pytest.mark.parametrize("row", [*REPLACED, *DROPPED], ids=name)
def test_each_has_a_note_with_the_file_and_the_reason(row: Owned) -> None:
    (note,) = notes({row.option: "old"}, {row.option: "/data/x.yaml"}, {})
    what = "is replaced" if row.fate is Fate.REPLACED else "has no effect"
    assert note == f"/data/x.yaml: {row.option} {what}: {row.why}"


def test_a_value_that_is_there_anyway_has_no_note() -> None:
    overrides = {"enable_media_repo": True, "pusher_instances": ["master"]}
    assert notes(overrides, {}, overrides) == ()
    assert len(notes({"enable_media_repo": 1}, {}, overrides)) == 1
    assert notes(dict.fromkeys(BY_OPTION), {}, overrides) == ()


@pytest.mark.parametrize("row", [row for row in OWNED if row.fate is Fate.REFUSED], ids=name)
def test_what_is_refused(row: Owned) -> None:
    assert list(refused({row.option: "old"})) == [row]
    for value in row.accepted:
        assert list(refused({row.option: value})) == []
