"""The benchmark of faults: gaps between answers."""

import pytest

from benchmarks.faults import longest_gap


@pytest.mark.parametrize(
    ("ended", "until", "expected"),
    [
        ([0.0, 1.0, 1.5], 2.0, 1.0),
        # Nothing came after the fault.
        ([0.0, 1.0], 9.0, 8.0),
        ([0.0], 3.0, 3.0),
    ],
)
def test_a_gap_lasts_from_one_answer_to_the_next(
    ended: list[float], until: float, expected: float
) -> None:
    assert longest_gap(ended, until) == expected
