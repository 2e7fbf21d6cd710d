"""The installed nginx accepts the files of every golden case."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.golden.cases import Case, good


@pytest.mark.parametrize("case", good(), indirect=True)
def test_nginx_accepts_it(case: Case, short_path: Path, authority: Authority) -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program is not None, "nginx is not installed; run scripts/setup --test"
    plan = case.made(short_path, authority, nginx=program)
    path = Path(plan.settings.run, "conf", "nginx.conf")
    text = path.read_text(encoding="utf-8")
    # It would really listen: at sockets that disturb nobody, and need no network.
    address = r"listen (\d+|[\d.]+:\d+|\[[\da-f:]+\]:\d+)( ssl)?( http2)?;"
    quiet = re.sub(
        address,
        lambda found: f"listen unix:{short_path}/{found.start()}{found[2] or ''}{found[3] or ''};",
        text,
    )
    assert quiet.count("listen unix:") == text.count("listen ") > 0
    path.write_text(quiet, encoding="utf-8")
    done = subprocess.run(
        [program, "-t", "-e", "stderr", "-c", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "[" in line]
    if os.geteuid() != 0:
        said = [line for line in said if '"user" directive' not in line]
    assert (done.returncode, said) == (0, [])
