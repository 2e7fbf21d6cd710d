"""The checked-in oracle is what the installed Synapse serves."""

import json
from importlib.metadata import version

from tests.oracle import generate


def test_the_oracle_matches_the_installed_synapse() -> None:
    checked_in = generate.HERE / f"synapse-{version('matrix-synapse')}.json"
    expected = json.loads(checked_in.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(generate.oracle()))
    assert found == expected, "run scripts/oracle, then review the changes"


def test_there_is_one_oracle() -> None:
    assert len(list(generate.HERE.glob("synapse-*.json"))) == 1
