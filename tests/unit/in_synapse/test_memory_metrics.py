"""The memory of a process in its own metrics."""

from pathlib import Path

from ganglion.in_synapse.memory_metrics import Memory

ROLLUP = """\
55d0-7ffe ---p 00000000 00:00 0 [rollup]
Rss:               26528 kB
Pss:               11060 kB
Pss_Dirty:          8000 kB
Shared_Clean:      10296 kB
Shared_Dirty:      10980 kB
Private_Clean:         2 kB
Private_Dirty:      5252 kB
Shared_Hugetlb:       99 kB
"""


def test_pages_are_added_up_by_kind(tmp_path: Path) -> None:
    (tmp_path / "rollup").write_text(ROLLUP)
    (family,) = Memory(tmp_path / "rollup").collect()
    assert {sample.labels["kind"]: sample.value for sample in family.samples} == {
        "proportional": 11060 * 1024,
        "shared": (10296 + 10980) * 1024,
        "private": 5254 * 1024,
    }


def test_a_kernel_without_the_file_costs_only_these_samples(tmp_path: Path) -> None:
    (family,) = Memory(tmp_path / "missing").collect()
    assert family.samples == []


def test_this_process_is_measured() -> None:
    (family,) = Memory().collect()
    found = {sample.labels["kind"]: sample.value for sample in family.samples}
    assert found["private"] > 2**20
    assert found["private"] <= found["proportional"]
