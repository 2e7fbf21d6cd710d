"""Memory and processor time, read from a directory like /proc."""

import os
from pathlib import Path

from ganglion.control.usage import Usage, usage

TICKS = os.sysconf("SC_CLK_TCK")


def process(proc: Path, pid: int, name: str, ticks: int, memory: int, *children: int) -> None:
    directory = proc / f"{pid}"
    (directory / "task" / f"{pid}").mkdir(parents=True)
    fields = " ".join(["S", *["0"] * 10, f"{ticks}", f"{ticks}", "0"])
    (directory / "stat").write_text(f"{pid} ({name}) {fields}\n")
    (directory / "smaps_rollup").write_text(f"Rss: 99 kB\nPss:   {memory} kB\nPss_Anon: 1 kB\n")
    (directory / "task" / f"{pid}" / "children").write_text(" ".join(map(str, children)))


def test_a_program_is_added_up_with_all_processes_below_it(tmp_path: Path) -> None:
    process(tmp_path, 10, "postgres", TICKS, 100, 11, 12)
    # A name may have brackets and blanks.
    process(tmp_path, 11, "io) worker (1", TICKS, 20, 13)
    process(tmp_path, 13, "backend", TICKS, 3)
    process(tmp_path, 14, "another", 1000 * TICKS, 1000)
    # 12 has ended meanwhile.
    assert usage(10, tmp_path) == Usage(memory=123 * 1024, processor=6.0)


def test_a_program_that_has_ended_has_no_usage(tmp_path: Path) -> None:
    assert usage(10, tmp_path) is None


def test_this_process_is_read_from_the_kernel() -> None:
    found = usage(os.getpid())
    assert found is not None
    assert found.memory is not None
    assert found.memory > 2**20
    assert found.processor > 0
