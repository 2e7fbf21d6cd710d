"""The checked-in oracle is what the installed Synapse says."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ORACLE = Path(__file__).parents[1] / "oracle"


def test_the_oracle_is_of_the_installed_synapse() -> None:
    checked_in = ORACLE / f"synapse-{version('matrix-synapse')}.json"
    made = subprocess.run(
        [sys.executable, "-W", "ignore", str(ORACLE / "generate.py"), "--stdout"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(made.stdout) == json.loads(checked_in.read_text(encoding="utf-8")), (
        "run scripts/oracle, then look at what changed"
    )


def test_there_is_one_oracle() -> None:
    assert len(list(ORACLE.glob("synapse-*.json"))) == 1
