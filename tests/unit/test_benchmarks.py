"""What scripts/bench makes of what it measured."""

import argparse
import os
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scripts.benchmarks import plot, report, results, servers, traffic, usage, variants, wrk
from scripts.benchmarks.population import Person
from scripts.benchmarks.results import Result, Table

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ("start", "reset", "memory", "load", "scale", "bulk")


def a_result() -> Result:
    """With two variants, one of which lacks a row, and signs that SVG and tables quote."""
    bars = Table(title="Start & end", unit="seconds")
    for first, second in ((2.0, 4.0), (4.0, 6.0)):
        bars.add("first <boot>", "a", first)
        bars.add("first <boot>", "b|c", second)
    bars.add("later", "a", 0.5)
    lines = Table(title="Memory", unit="MB", series="workers")
    for count, size in ((1, 100.0), (2, 130.0), (40, 1270.0)):
        lines.add(str(count), "a", size)
    return Result(
        benchmark="start",
        title="Time <to> start",
        note="From here to there.",
        date="2026-11-23 12:00 UTC",
        command="scripts/bench start",
        machine={"cores": "2"},
        tables=[bars, lines],
    )


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    variants.add_arguments(parser)
    servers.add_arguments(parser)
    return parser.parse_args(words)


def test_the_summary_of_wrk_is_read() -> None:
    load = wrk.parse(
        "Running 2s test @ http://127.0.0.1:1\n  8 threads and 8 connections\n"
        'summary {"requests": 500, "microseconds": 2000000, "p50": 900, "p95": 1500, "p99": 12000,'
        ' "errors": 3}\n'
    )
    assert load == wrk.Load(requests=500, per_second=250, p50=0.9, p95=1.5, p99=12.0, errors=3)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("unable to connect to 127.0.0.1:1 Connection refused\n", "wrk printed no summary"),
        (
            'summary {"requests": 0, "microseconds": 1, "p50": 0, "p95": 0, "p99": 0, "errors": 8}',
            "nothing was answered",
        ),
    ],
)
def test_what_wrk_says_without_an_answer_is_an_error(output: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrk.parse(output)


def test_the_last_timeline_of_a_log_counts() -> None:
    log = (
        "supervisor | INFO everything runs after 3.70 s: boot 1.00, main 2.70\n"
        "main | everything is fine\n"
        "supervisor | INFO everything runs after 2.23 s: boot 1.53, pre-load 0.54, main 0.16\n"
    )
    assert servers.timeline(log) == {"boot": 1.53, "pre-load": 0.54, "main": 0.16, "total": 2.23}
    assert servers.timeline("nothing of the kind\n") == {}


def test_the_listeners_come_from_what_check_prints() -> None:
    checked = '{"processes": [{"name": "main", "address": "unix:/run/main.sock"}], "notes": []}'
    assert servers.addresses(checked) == ["unix:/run/main.sock"]


def test_processes_are_known_by_their_command_lines() -> None:
    title = "sync1: synapse.app.generic_worker"
    fresh = ["/venv/bin/python", "-m", "synapse.app.generic_worker", "-c", "/x/conf/main.yaml"]
    assert usage.name_of(["ganglion: supervisor"]) == "supervisor"
    assert usage.name_of([title]) == "sync1"
    assert usage.name_of([*fresh, "-c", "/x/workers/client_reader12.yaml"]) == "client_reader12"
    assert usage.name_of(fresh) == "main"
    python = "/usr/local/bin/python"
    forked = [python, "-m", usage.FORKS, "/data/homeserver.yaml", "-c", "/conf/workers/sync1.yaml"]
    assert usage.name_of(forked) == "forked"
    assert usage.name_of([python, "/usr/local/bin/supervisord", "-c", "/x.conf"]) == "supervisor"


def test_memory_is_in_megabytes() -> None:
    assert usage.proportional("00 [rollup]\nRss: 9 kB\nPss:     81867 kB\nPss_Anon: 1 kB\n") == (
        pytest.approx(83.83, abs=0.01)
    )
    with pytest.raises(ValueError, match="no Pss"):
        usage.proportional("")


def test_processor_time_is_that_of_the_process() -> None:
    before = time.process_time()
    seen = usage.processor_seconds(os.getpid())
    assert before <= seen <= time.process_time()


def test_a_benchmark_compares_launch_modes_and_main_alone_unless_told() -> None:
    labels = [variant.label for variant in variants.chosen(options())]
    assert labels == ["complement", "GANGLION_PREFORK=no", "none"]
    assert [each.label for each in variants.chosen(options("--only"))] == ["complement"]
    assert [each.label for each in variants.chosen(options("--workers", "none"))] == [
        "none",
        "GANGLION_PREFORK=no",
    ]


def test_changes_are_made_to_the_first_layout() -> None:
    words = ("--workers", "small", "--workers", "full", "--with", "A=1 B='x y'")
    small, changed, full = variants.chosen(options(*words))
    assert small.variables == {"WORKERS": "small"}
    assert changed.variables == {"WORKERS": "small", "A": "1", "B": "x y"}
    assert full.variables == {"WORKERS": "full"}
    with pytest.raises(ValueError, match="NAME is not NAME=VALUE"):
        variants.assignments("NAME")


def test_a_peer_has_the_roles_of_the_first_layout_and_nothing_else() -> None:
    ours, peer = variants.chosen(options("--peer", "theirs"))
    assert (ours.label, ours.peer) == ("complement", None)
    assert (peer.label, peer.peer) == ("Synapse's own image", "theirs")
    assert peer.variables == {"WORKERS": "complement"}
    words = ("--only", "--with", "A=1", "--workers", "small", "--workers", "none", "--peer", "x")
    labels = [variant.label for variant in variants.chosen(options(*words))]
    assert labels == ["small", "A=1", "none", "Synapse's own image"]
    grown = variants.grown(peer, 2)
    assert (grown.peer, grown.variables) == ("theirs", {"WORKERS": "client_reader:2"})


def test_a_peer_has_a_listener_for_main_and_one_for_each_worker() -> None:
    roles = servers.peer_roles("complement")
    assert roles[0] == "event_persister:2"
    assert roles[-1] == "stream_writers=account_data+presence+receipts+to_device+typing"
    assert servers.peer_ports(roles) == [8080, *range(18009, 18025)]
    assert servers.peer_roles("client_reader:2, pusher") == ["client_reader:2", "pusher"]
    assert servers.peer_roles("none") == []
    assert servers.peer_ports([]) == [8080]


def test_a_result_says_which_image_the_peer_is() -> None:
    beside = options("--peer", "theirs:1", "--image", "ours")
    assert servers.images(beside) == ["ours", "theirs:1"]
    assert "Synapse's own image, as whoever ran this named it, is theirs:1" in servers.note(beside)
    assert servers.note(options()) == ""
    assert servers.images(options("--native")) == []


def test_a_peer_and_programs_of_this_machine_are_not_compared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        options("--native", "--peer", "theirs")
    assert "argument --peer: not allowed with argument --native" in capsys.readouterr().err


def test_turns_go_back_and_forth() -> None:
    one, two = variants.chosen(options("--workers", "none"))
    assert variants.turns((one, two), 3) == [one, two, two, one, one, two]


def test_each_client_speaks_for_users_of_its_own() -> None:
    people = [
        Person(user_id=f"@u{n}:x", password="p", token=f"t{n}", room_id="!r:x", since="s1")
        for n in range(16)
    ]
    for endpoint in traffic.ENDPOINTS:
        rows = [line.split("\t") for line in traffic.lines(endpoint, people, 8).splitlines()]
        assert {len(row) for row in rows} == {5}
        whose: dict[str, set[int]] = {}
        for number, row in enumerate(rows):
            # Who logs in has no token yet.
            whose.setdefault(row[2] or row[4], set()).add(number % 8)
        assert all(len(clients) == 1 for clients in whose.values())


def test_the_mixture_has_its_proportions_for_each_client() -> None:
    people = [Person(user_id="@u:x", password="p", token="t", room_id="!r:x")]
    rows = traffic.lines("mixed", people, 4).splitlines()
    assert len(rows) == 4 * sum(traffic.MIXED.values())
    for client in range(4):
        assert sum("/login" in row for row in rows[client::4]) == traffic.MIXED["login"]
        assert sum("/sync" in row for row in rows[client::4]) == traffic.MIXED["sync"]


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    assert results.ratio([4.0, 9.0, 8.0], [2.0, 3.0, 1.0]) == 3.0
    assert results.ratio([1.0], [1.0, 2.0]) is None
    assert results.ratio([1.0], [0.0]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1234"), (12.345, "12.3"), (1.0, "1.00"), (0.01234, "0.0123")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert results.number(value) == text


def test_cells_hold_median_spread_and_ratio() -> None:
    titles, rows = results.cells(a_result().tables[0])
    assert titles == ["", "a", "b|c"]
    assert rows == [
        ["first <boot>", "3.00 (2.00 to 4.00)", f"5.00 (4.00 to 6.00) {results.TIMES}1.75"],
        ["later", "0.500", ""],
    ]


def test_the_slope_is_of_the_nearest_line() -> None:
    assert results.least_squares({1: 10, 2: 12, 3: 14}) == pytest.approx(2)


def test_a_command_is_told_without_where_its_results_went() -> None:
    words = ["--json", "x.json", "--with", "A=1 B=2", "--plot=x.svg", "--image", "i", "--only"]
    assert results.command_line("load", words) == "scripts/bench load --with 'A=1 B=2' --only"


def test_results_survive_their_file() -> None:
    assert Result.load(a_result().as_json()) == a_result()


def test_pictures_are_well_formed_and_within_their_frame() -> None:
    picture = ET.fromstring(plot.draw(a_result()))  # noqa: S314 - our own
    _, _, width, height = (float(part) for part in picture.attrib["viewBox"].split())
    space = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f"{space}g")) == 2
    bars = picture.findall(f"{space}g/{space}rect")
    assert len(bars) >= 3
    for bar in bars:
        assert 0 <= float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
        assert 0 <= float(bar.attrib["y"]) <= height
    course = picture.find(f".//{space}polyline")
    assert course is not None
    assert len(course.attrib["points"].split()) == 3
    assert "first <boot>" in "".join(picture.itertext())


@pytest.mark.parametrize("most", [0.0, 0.003, 0.99, 1.0, 7.0, 40.0, 1270.0, 99999.0])
def test_the_marks_of_an_axis_are_few_and_reach_far_enough(most: float) -> None:
    marks = plot.steps(most)
    assert marks[0] == 0
    assert marks[-1] >= most * 0.999
    assert 2 <= len(marks) <= 8


def test_a_report_fills_its_part_and_no_other(tmp_path: Path) -> None:
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


def test_a_part_of_the_page_needs_a_plain_name(tmp_path: Path) -> None:
    (tmp_path / "a b.json").write_text(a_result().as_json(), encoding="utf-8")
    with pytest.raises(ValueError, match="only lower-case letters"):
        report.write(tmp_path, [tmp_path / "a b.json"])


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_page_has_a_part_for_each_benchmark(name: str) -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert f"<!-- {name} -->\n" in page
    assert f"<!-- /{name} -->\n" in page
    assert f"  {name} " in (ROOT / "scripts" / "bench").read_text(encoding="utf-8")
