"""The extrapolation of docs/scaling.md: from the measured figures, and as printed there."""

from math import inf
from pathlib import Path

import pytest

from benchmarks.beyond import (
    BUSY,
    DOCUMENT,
    Load,
    ceilings,
    measured,
    needed,
    reproduced,
    tables,
)

TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_model_reproduces_the_figures_that_were_measured_here() -> None:
    """Within a fifth: else nothing may be extrapolated from it."""
    found = reproduced(*measured(TEXT))
    assert len(found) == 2
    for name, was, said in found:
        assert said == pytest.approx(was, rel=0.2), name


def test_the_document_has_the_present_tables() -> None:
    document = Path(DOCUMENT).with_name("scaling.md").read_text(encoding="utf-8")
    assert tables(TEXT) in document, "print them with: scripts/bench beyond"


def test_each_process_hears_of_every_message_so_more_processes_do_not_help_for_ever() -> None:
    kinds, _ = measured(TEXT)
    few, many = ceilings(kinds, 10), ceilings(kinds, 1000)
    assert few["listening"] == many["listening"]
    assert few["Redis"] == pytest.approx(100 * many["Redis"])
    limit = BUSY / kinds["send"].hear
    below, above = Load(users=int(limit * 900)), Load(users=int(limit * 1100))
    assert below.messages < limit < above.messages
    assert needed(kinds, below)["all"] < inf
    assert needed(kinds, above)["all"] == inf
