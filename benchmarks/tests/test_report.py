"""The parts of docs/performance.md that benchmarks write."""

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.tests.sample import a_result

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ("start", "reset", "memory", "load", "latency", "idle", "scale", "bulk")


def test_a_report_changes_only_its_own_part(tmp_path: Path) -> None:
    text = "# P\n\n<!-- start -->\nold\n<!-- /start -->\n\n<!-- load -->\nkept\n<!-- /load -->\n"
    (tmp_path / "performance.md").write_text(text, encoding="utf-8")
    for name in ("start", "load-log-level"):
        (tmp_path / f"{name}.json").write_text(a_result().as_json(), encoding="utf-8")
    files = [tmp_path / "start.json", tmp_path / "load-log-level.json"]
    written = report.write(tmp_path, files)
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "old" not in page
    assert "<!-- load -->\nkept\n<!-- /load -->" in page
    assert page.count("| first <boot> | 3.00 (2.00 to 4.00) | 5.00 (4.00 to 6.00) ") == 2
    assert "|  | a | b\\|c |\n| --- | ---: | ---: |" in page
    assert "    scripts/bench start\n\non cores 2." in page
    assert "## Time <to> start\n\n<!-- load-log-level -->" in page
    assert tmp_path / "performance-load-log-level.svg" in written
    report.write(tmp_path, files)
    assert (tmp_path / "performance.md").read_text(encoding="utf-8") == page


def test_a_part_of_the_page_on_reliability_is_filled_there(tmp_path: Path) -> None:
    for page in ("performance", "reliability"):
        (tmp_path / f"{page}.md").write_text("# P\n", encoding="utf-8")
    other = tmp_path / "reliability.md"
    other.write_text("# R\n\n<!-- faults -->\n<!-- /faults -->\n", encoding="utf-8")
    (tmp_path / "faults.json").write_text(a_result().as_json(), encoding="utf-8")
    written = report.write(tmp_path, [tmp_path / "faults.json"])
    assert written == [other, tmp_path / "performance-faults.svg"]
    assert "| first <boot> |" in other.read_text(encoding="utf-8")
    assert (tmp_path / "performance.md").read_text(encoding="utf-8") == "# P\n"


def test_a_part_of_the_page_needs_a_plain_name(tmp_path: Path) -> None:
    (tmp_path / "a b.json").write_text(a_result().as_json(), encoding="utf-8")
    with pytest.raises(ValueError, match="only lower-case letters"):
        report.write(tmp_path, [tmp_path / "a b.json"])


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_page_has_a_part_for_each_benchmark(name: str) -> None:
    pages = (ROOT / "docs" / f"{page}.md" for page in ("performance", "reliability"))
    page = "".join(each.read_text(encoding="utf-8") for each in pages)
    assert f"<!-- {name} -->\n" in page
    assert f"<!-- /{name} -->\n" in page
    assert f"  {name} " in (ROOT / "scripts" / "bench").read_text(encoding="utf-8")
