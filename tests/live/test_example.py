"""The example suite, as a newcomer runs it without Docker."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.harness import GANGLION

ROOT = Path(__file__).resolve().parents[2]
# In seconds, for a server and some ten tests.
RUN_WITHIN = 500


def test_the_example_suite_passes(tmp_path: Path) -> None:
    """The plugin is installed by pip and found by its entry point."""
    site = tmp_path / "site"
    source = shutil.copytree(ROOT / "pytest-ganglion", tmp_path / "pytest-ganglion")
    words = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", *words)
    subprocess.run([*pip, f"--target={site}", str(source)], check=True)
    example = shutil.copytree(ROOT / "tests" / "example", tmp_path / "example")

    command = ("--ganglion=native", f"--ganglion-command={shlex.join(GANGLION)}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *command, "-p", "no:cacheprovider"],
        cwd=example,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(summary(done.stdout))


def summary(printed: str) -> str:
    """The plugin's line about servers: one server, and a reset before each test but the first."""
    found = re.search(r"ganglion: 1 started in [\d.]+ s; (\d+) resets of [\d.]+ s each", printed)
    passed = re.search(r"(\d+) passed", printed)
    assert found, printed
    assert passed, printed
    assert int(found[1]) == int(passed[1]) - 1 >= 5
    return found[0]
