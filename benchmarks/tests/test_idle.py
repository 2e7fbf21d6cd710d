"""Wake-ups of a server's processes."""

import subprocess
import sys
import time

import pytest

from benchmarks import idle

SLEEPER = "import time\nprint('up', flush=True)\nwhile True: time.sleep(0.05)"


def test_a_wake_up_is_a_wait_that_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as sleeper:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        try:
            began = time.monotonic()
            woken, spent = idle.looked(sleeper.pid, 1.0)
            took = time.monotonic() - began
        finally:
            sleeper.kill()
    (count,) = woken.values()
    assert count == pytest.approx(20 * took, abs=12)
    assert 0 < spent < 0.5
