"""The order in which the kernel kills processes when memory is short."""

from pathlib import Path

import pytest

from ganglion.machine import oom_score


@pytest.mark.parametrize(
    ("before", "points", "after"),
    [("0\n", 200, "200"), ("-997\n", 200, "-797"), ("900\n", 200, "1000"), ("5\n", 0, "5\n")],
)
def test_points_are_added_to_those_of_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str, points: int, after: str
) -> None:
    path = tmp_path / "oom_score_adj"
    path.write_text(before)
    monkeypatch.setattr(oom_score, "OWN", path)
    oom_score.add(points)
    assert path.read_text() == after


def test_nothing_happens_where_the_kernel_does_not_allow_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(oom_score, "OWN", tmp_path / "absent" / "oom_score_adj")
    oom_score.add(200)
