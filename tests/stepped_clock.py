"""A clock that is set while a server runs: for that server alone, in all of its processes.

Programs of a server get an environment of their own, so a library in LD_PRELOAD would not reach
them. One that /etc/ld.so.preload names does; the server sees an /etc of its own.
"""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
# The characters of an offset, padded with spaces.
LONGEST = 20
# $1 is the directory that the server sees as /etc; the program follows.
OWN_ETC = 'mount --bind "$1" /etc && shift && exec "$@"'


class SteppedClock:
    """The time of day of whatever is started by `runner`. Needs root, and a C compiler."""

    def __init__(self, directory: Path) -> None:
        """Prepare it in a directory that all accounts can read."""
        self._offset = directory / "offset"
        self.step(0)
        library = directory / "stepped_clock.so"
        defined = (f'-DOFFSET_FILE="{self._offset}"', f"-DLONGEST={LONGEST}")
        compiler = ("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror")
        subprocess.run([*compiler, *defined, "-o", str(library), str(SOURCE)], check=True)
        etc = directory / "etc"
        shutil.copytree("/etc", etc, symlinks=True)
        (etc / "ld.so.preload").write_text(f"{library}\n")
        self.runner = ("unshare", "--mount", "sh", "-ec", OWN_ETC, "sh", str(etc))

    def step(self, seconds: int) -> None:
        """Set the clock so many seconds ahead of the machine's, or behind it."""
        # Not made anew: processes have the file mapped.
        with self._offset.open("r+" if self._offset.exists() else "w") as file:
            file.write(f"{seconds}".ljust(LONGEST))
