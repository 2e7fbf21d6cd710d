"""Memory and processor time of processes."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks import usage


def test_a_process_is_named_after_its_command_line() -> None:
    title = "sync1: synapse.app.generic_worker"
    fresh = ["/venv/bin/python", "-m", "synapse.app.generic_worker", "-c", "/x/conf/main.yaml"]
    assert usage.name_of(["ganglion: supervisor"]) == "supervisor"
    assert usage.name_of([title]) == "sync1"
    assert usage.name_of([*fresh, "-c", "/x/workers/client_reader12.yaml"]) == "client_reader12"
    assert usage.name_of(fresh) == "main"
    python = "/usr/local/bin/python"
    forked = [python, "-m", usage.FORKS, "/data/homeserver.yaml", "-c", "/conf/workers/sync1.yaml"]
    assert usage.name_of(forked) == "forked"
    assert usage.name_of([python, "/usr/local/bin/supervisord", "-c", "/x.conf"]) == "supervisor"


def test_memory_is_in_megabytes() -> None:
    assert usage.proportional("00 [rollup]\nRss: 9 kB\nPss:     81867 kB\nPss_Anon: 1 kB\n") == (
        pytest.approx(83.83, abs=0.01)
    )
    with pytest.raises(ValueError, match="no Pss"):
        usage.proportional("")


def test_processor_time_is_the_time_of_that_process() -> None:
    before = time.process_time()
    seen = usage.processor_seconds(os.getpid())
    assert before <= seen <= time.process_time()


def test_a_process_that_has_ended_meanwhile_is_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert usage.programs(ended.pid) == ()
    assert usage.family(ended.pid) == ()
