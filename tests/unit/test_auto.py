"""WORKERS=auto uses the layout that suits the machine."""

from dataclasses import replace
from itertools import pairwise

import pytest

from ganglion.plan import build_topology
from ganglion.programs.registry import TYPICAL
from ganglion.topology.auto import LAYOUTS, Layout
from ganglion.topology.topology import Topology
from tests.plans import problems, said, settings, topology_of

MB, GB = 1024**2, 1024**3


def picked(memory: str, cpus: str, **environ: str) -> Topology:
    return build_topology(settings(GANGLION_MEMORY=memory, GANGLION_CPUS=cpus, **environ), TYPICAL)


def names(found: Topology) -> list[str]:
    return [worker.name for worker in found.workers]


def test_each_layout_is_larger_than_the_one_before() -> None:
    assert (LAYOUTS[0].cpus, LAYOUTS[0].memory, LAYOUTS[0].workers) == (0, 0, "")
    for smaller, larger in pairwise(LAYOUTS):
        assert smaller.cpus < larger.cpus
        assert smaller.memory < larger.memory
        before, after = (topology_of(row.workers or "none") for row in (smaller, larger))
        assert len(before.workers) < len(after.workers)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.cpus:g}")
def test_every_layout_fits_the_smallest_machine_that_uses_it(layout: Layout) -> None:
    cpus = f"{max(layout.cpus, 0.1):g}"
    for environ in ({}, {"GANGLION_PREFORK": "no"}):
        found = picked(f"{layout.memory or 512 * MB}", cpus, **environ)
        assert names(found) == names(topology_of(layout.workers or "none"))
    assert layout.why
    assert "\n" not in layout.why


@pytest.mark.parametrize(
    ("memory", "cpus", "workers"),
    [
        ("512M", "1", []),
        ("64G", "1", []),
        ("1G", "8", []),
        ("2G", "2", ["reader1"]),
        ("64G", "3.9", ["reader1"]),
        ("4G", "4", ["sync1", "client1", "background1"]),
    ],
)
def test_both_processors_and_memory_must_suffice(
    memory: str, cpus: str, workers: list[str]
) -> None:
    assert names(picked(memory, cpus)) == workers
    assert names(picked(memory, cpus, WORKERS="auto")) == workers
    assert names(picked(memory, cpus, SYNAPSE_WORKER_TYPES="auto")) == workers


def test_without_variables_the_limits_are_the_machines() -> None:
    tiny = replace(TYPICAL, limits=replace(TYPICAL.limits, cpus=1.0))
    assert names(build_topology(settings(), tiny)) == []
    assert names(build_topology(settings(), TYPICAL)) == ["reader1"]


def test_without_auto_nothing_changes() -> None:
    assert names(picked("64G", "64", WORKERS="pusher")) == ["pusher1"]
    assert picked("64G", "64", WORKERS="pusher").notes == ()
    assert names(picked("64G", "64", WORKERS="none")) == []


def test_other_entries_are_added_to_the_layout() -> None:
    assert names(picked("4G", "2", WORKERS="auto, pusher")) == ["reader1", "pusher1"]
    assert names(picked("4G", "2", WORKERS="auto, reader=synchrotron:2")) == ["reader1", "reader2"]


def test_other_entries_that_need_memory_make_the_layout_smaller() -> None:
    assert names(picked("1536M", "2", WORKERS="auto, pusher:14")) == [
        "reader1",
        *(f"pusher{number}" for number in range(1, 15)),
    ]
    assert "reader1" not in names(picked("1536M", "2", WORKERS="auto, pusher:15"))


def test_a_note_names_the_layout() -> None:
    assert picked("4G", "2").notes == (
        f"WORKERS=auto runs 1 worker on 2 CPUs and 4096M of memory: {LAYOUTS[1].why}",
    )
    assert picked("512M", "0.5").notes == (
        f"WORKERS=auto runs no workers on 0.5 CPUs and 512M of memory: {LAYOUTS[0].why}",
    )


def test_if_no_layout_fits_the_problem_is_about_main_alone() -> None:
    (problem,) = problems(lambda: picked("100M", "64"))
    assert "Synapse's 1 process " in problem


def test_a_mistake_in_another_entry_is_reported_once() -> None:
    assert problems(lambda: picked("64G", "64", WORKERS="auto, pushr, small")) == [
        said("WORKERS='pushr'", "unknown role 'pushr'", "did you mean 'pusher'?"),
        said("WORKERS='small'", "is a second preset besides auto", "use only one preset"),
    ]
    assert problems(lambda: picked("1G", "1", WORKERS="a=auto")) == [
        said(
            "WORKERS='a=auto'",
            "the preset auto cannot be part of an entry",
            "write auto as a separate entry",
        )
    ]


def test_restricted_federation_requires_a_layout_with_senders() -> None:
    restricted = {"GANGLION_RESTRICT_FEDERATION": "yes"}
    assert "background1" in names(picked("4G", "4", **restricted))
    (problem,) = problems(lambda: picked("1G", "1", **restricted))
    assert problem.startswith("GANGLION_RESTRICT_FEDERATION='yes'")
