"""The names of benchmarks, which scripts/bench has too."""

import re
from pathlib import Path

from benchmarks.__main__ import NAMES

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench"


def test_the_script_knows_and_explains_each_benchmark() -> None:
    text = SCRIPT.read_text()
    explained = re.findall(r"^  (\w+)  ", text.partition("\nEND\n")[0], re.MULTILINE)
    accepted = re.search(r"^    (reset \|.*?)\) ;;$", text, re.MULTILINE | re.DOTALL)
    assert accepted is not None
    assert set(re.findall(r"\w+", accepted[1])) == set(NAMES)
    assert set(explained) == set(NAMES)
