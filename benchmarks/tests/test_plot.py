"""Plots of results."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks.plot import draw
from benchmarks.tests.sample import a_result

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def test_a_plot_shows_every_label_and_a_panel_for_each_table() -> None:
    picture = ET.fromstring(draw(a_result()))  # noqa: S314 - our own
    texts = ["".join(text.itertext()).strip() for text in picture.iter(f"{SVG}text")]
    for text in ("Start & end, seconds", "first <boot>", "later", "b|c", "5.00", "0.500"):
        assert text in texts
    assert "Memory, MB" in texts
    assert "workers" in texts
    panels = [part for part in picture.iter(f"{SVG}g") if part.get("id", "").startswith("axes_")]
    assert len(panels) == 2


def test_no_text_is_outside_the_frame() -> None:
    picture = ET.fromstring(draw(a_result()))  # noqa: S314 - our own
    _, _, width, height = (float(part) for part in picture.attrib["viewBox"].split())
    texts = list(picture.iter(f"{SVG}text"))
    assert len(texts) > 10
    for text in texts:
        assert 0 <= float(text.attrib["x"]) <= width, "".join(text.itertext())
        assert 0 <= float(text.attrib["y"]) <= height, "".join(text.itertext())


def test_the_same_result_gives_the_same_bytes() -> None:
    script = (
        "from benchmarks.plot import draw\n"
        "from benchmarks.tests.sample import a_result\n"
        "print(draw(a_result()), end='')\n"
    )
    here = draw(a_result())
    assert "<dc:date>" not in here
    for seed in ("1", "2"):
        path = os.pathsep.join((str(ROOT), str(ROOT / "entrypoint")))
        again = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert again.stdout == here
