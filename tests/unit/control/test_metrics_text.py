"""The text of metrics: Ganglion's own series, and the merged ones of many processes."""

import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ganglion.control.footprint import footprint
from ganglion.control.metrics.exposition import Family, Sample, rendered
from ganglion.control.metrics.merge import PIECE, Merged
from ganglion.control.metrics.own import Observed, families
from ganglion.control.metrics.request_log import LIMITS, Times
from ganglion.control.programs import ProgramState, States
from ganglion.control.stores import COUNTERS, Postgres, read_info

HOSTILE = 'a"b\\c\nd{e}# HELP x\t é,process="main"'
LABELS = {"main": {"process": "main", "role": "main"}, "w1": {"process": "w1", "role": "a+b"}}
FIRST = b"""\
# HELP x_total Text with "quotes".
# TYPE x_total counter
x_total 1.0
x_total{own="1"} 2.0
# HELP t
# TYPE t histogram
t_bucket{le="0.1"} 1.0
t_bucket{le="+Inf"} 1.0
t_count 1.0
"""
SECOND = b"""\
# HELP t
# TYPE t histogram
t_bucket{le="0.1"} 5.0
# HELP only Of one process.
# TYPE only gauge
only{process="mine",xrole="y"} 7.0 123
# HELP x_total Text with "quotes".
# TYPE x_total counter
x_total{own="1"} 3.0
"""


def merged(**texts: bytes) -> str:
    found = Merged(LABELS)
    for name, text in texts.items():
        found.add(name, text)
    try:
        return b"".join(found.pieces()).decode()
    finally:
        found.close()


def test_the_samples_of_a_name_stand_together_with_one_header() -> None:
    assert (
        merged(main=FIRST, w1=SECOND)
        == """\
# HELP x_total Text with "quotes".
# TYPE x_total counter
x_total{process="main",role="main"} 1.0
x_total{process="main",role="main",own="1"} 2.0
x_total{process="w1",role="a+b",own="1"} 3.0
# HELP t
# TYPE t histogram
t_bucket{process="main",role="main",le="0.1"} 1.0
t_bucket{process="main",role="main",le="+Inf"} 1.0
t_count{process="main",role="main"} 1.0
t_bucket{process="w1",role="a+b",le="0.1"} 5.0
# HELP only Of one process.
# TYPE only gauge
only{process="w1",role="a+b",exported_process="mine",xrole="y"} 7.0 123
"""
    )


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\n\n",
        b"no metrics at all",
        b"<html>\n</html>",
        b"\xff\xfe\x00",
        b"# HELP",
        b"# TYPE x",
    ],
)
def test_a_process_that_sends_junk_spoils_nothing(junk: bytes) -> None:
    alone = merged(main=FIRST)
    assert merged(main=FIRST, w1=junk).startswith(alone)
    found = merged(w1=junk, main=FIRST)
    assert list(text_string_to_metric_families(found)) == list(
        text_string_to_metric_families(alone)
    )


def test_a_broken_line_is_left_out() -> None:
    text = FIRST + b"x_total{own= 9\nx_total\nx total 3\nt_count 9.0 9 9\n"
    assert merged(main=text) == merged(main=FIRST)


def test_a_text_that_comes_too_late_is_ignored() -> None:
    found = Merged(LABELS)
    found.add("main", FIRST)
    pieces = found.pieces()
    next(pieces)
    found.add("w1", SECOND)
    found.close()
    found.add("w1", SECOND)
    found.close()


def test_a_large_text_comes_in_pieces() -> None:
    line = b'many{key="%06d"} 1.0\n'
    families_of = b"".join(
        b"# HELP many%d x\n# TYPE many%d gauge\n" % (i, i) + b"".join(line % j for j in range(500))
        for i in range(40)
    )
    found = Merged(LABELS)
    found.add("main", families_of)
    pieces = list(found.pieces())
    found.close()
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 2 * PIECE


def test_its_memory_is_given_back() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        merged(main=FIRST)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_label_is_read_back_as_it_was() -> None:
    family = Family(
        name="g", kind="gauge", about="x", samples=[Sample(labels={"name": HOSTILE}, value=1)]
    )
    text = b"".join(rendered([family])).decode()
    (found,) = text_string_to_metric_families(text)
    assert [sample.labels for sample in found.samples] == [{"name": HOSTILE}]


def test_every_series_of_our_own_can_be_read() -> None:
    times = Times()
    times.add(0.02, 3)
    times.add(1000.0, 1)
    state = ProgramState(
        name="main", state="RUNNING", ready=True, pid=1, age=2.5, starts=3, given_up=False,
        ended=None, end="",
    )  # fmt: skip
    own = footprint(os.getpid())
    assert own is not None
    seen = Observed(
        labels=LABELS,
        states=States(programs={"main": state}, start={"data": 0.5}),
        footprints={"main": own},
        requests={("sync", "w1", "200"): 4},
        times={("sync", "w1"): times},
        postgres=Postgres(
            counters=dict.fromkeys(COUNTERS, 1.0), size=5, most_connections=9,
            connections={"idle": 2}, longest=0.1, background_updates=0,
        ),
        redis=read_info("used_memory:100\r\n# x\r\nkeyspace_hits:broken\r\nrole:master\r\n"),
        asked=("main", "redis"),
        problems={"main": "no response"},
    )  # fmt: skip
    found = {
        family.name: family
        for family in text_string_to_metric_families(b"".join(rendered(families(seen))).decode())
    }
    assert all(name.startswith("ganglion_") for name in found)
    failed = {s.labels["process"]: s.value for s in found["ganglion_scrape_failed"].samples}
    assert failed == {"main": 1.0, "redis": 0.0}
    assert found["ganglion_process_starts"].samples[0].value == 3
    seconds = {
        sample.labels.get("le", sample.name): sample.value
        for sample in found["ganglion_nginx_request_seconds"].samples
    }
    assert seconds["0.01"] == 0
    assert seconds["0.025"] == seconds[str(LIMITS[-1])] == 3
    assert seconds["+Inf"] == seconds["ganglion_nginx_request_seconds_count"] == 4
    assert seconds["ganglion_nginx_request_seconds_sum"] == 1000.06
    assert found["ganglion_redis_memory_bytes"].samples[0].value == 100
    assert "ganglion_redis_hits" not in found
