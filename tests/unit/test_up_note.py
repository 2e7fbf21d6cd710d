"""The scripts never trust a note that another account could have made."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("script", ["up", "down", "ganglion"])
def test_a_link_instead_of_the_directory_is_refused(script: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    # A script that trusts it would end this process.
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        (outside / "server").write_text(f"native {sleeper.pid} 0\n", encoding="utf-8")
        (outside / "variables").touch()
        data = tmp_path / "data"
        data.mkdir()
        note = data / ".up"
        note.symlink_to(outside)
        words = {"up": ["--native", "-d"], "down": [], "ganglion": ["status"]}[script]
        done = subprocess.run(
            [ROOT / "scripts" / script, *words],
            env={"PATH": os.defpath, "GANGLION_DATA": str(data)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"{script}: {note} was made by another account: remove it, and stop the server that"
            " runs, if one does\n"
        )
        assert sorted(path.name for path in outside.iterdir()) == ["server", "variables"]
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
