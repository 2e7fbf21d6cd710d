"""The line that reports how long a start took."""

import os
import subprocess
import sys
import time

from ganglion.supervisor.start_times import Timeline

SCRIPT = "from ganglion.supervisor.start_times import process_start; print(process_start())"


def test_stages_are_listed_in_the_order_of_their_ends_with_the_total() -> None:
    times = iter([100.5, 102.0, 102.25, 999.0])
    timeline = Timeline(lambda: next(times), began=100.0)
    for stage in ("python", "postgres", "main"):
        timeline.mark(stage)
    # Ignored: PostgreSQL has restarted.
    timeline.mark("postgres")
    assert timeline.line() == (
        "everything runs after 2.25 s: python 0.50, postgres 1.50, main 0.25"
    )


def test_times_are_counted_from_the_start_of_the_process() -> None:
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    started = float(done.stdout)
    # The kernel counts whole ticks.
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert before - tick <= started <= time.monotonic()
