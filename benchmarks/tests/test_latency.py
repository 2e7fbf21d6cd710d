"""The time of one request at a time: the compared servers, and the tables."""

import argparse
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from benchmarks import background, latency, results, single
from benchmarks.latency import Asked
from benchmarks.results import Session
from benchmarks.single import REMOTE, Scene
from benchmarks.variants import Variant

if TYPE_CHECKING:
    from benchmarks.fleet import Member


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    latency.add_arguments(parser)
    return parser.parse_args(words)


def asked(label: str, idle: dict[str, list[list[float]]], remote: object = None) -> Asked:
    """Return a server with its measurements when idle."""
    return Asked(
        variant=Variant(label=label),
        member=cast("Member", None),
        scene=Scene(**cast("Any", {**dict.fromkeys(Scene.__slots__), "remote": remote})),
        requests=Path(),
        times={"idle": idle},
    )


def test_others_are_compared_with_main_alone() -> None:
    found = latency.chosen(options("--workers", "small", "--with", "A=1 B=2"))
    assert [(each.label, each.variables) for each in found] == [
        ("WORKERS=none", {"WORKERS": "none"}),
        ("small", {"WORKERS": "small"}),
        (f"small, {latency.TEST_MODE}", {"WORKERS": "small", "GANGLION_TEST_MODE": "yes"}),
        ("A=1 B=2", {"WORKERS": "small", "A": "1", "B": "2"}),
    ]
    *_, peer = latency.chosen(options("--peer", "theirs"))
    assert (peer.peer, peer.variables) == ("theirs", {"WORKERS": "complement"})


def test_a_multiple_is_that_of_the_medians_of_one_round() -> None:
    session = Session("latency", options_of_results(), [], [])
    alone = asked("alone", {"send": [[0.010, 0.010, 0.010], [0.020, 0.020, 0.020]]})
    split = asked("split", {"send": [[0.020, 0.010, 0.030], [0.020, 0.030, 0.040]]})
    latency.tabulate([alone, split], session)
    found = {(table.title, table.unit): table.rows for table in session.tables if table.rows}
    assert found["Median, idle", "ms"]["send"]["split"] == pytest.approx([20, 30])
    assert found["Idle", f"{results.TIMES} main alone"]["send"] == {
        "split": pytest.approx([2.0, 1.5])
    }
    assert found["95 %, idle", "ms"]["send"]["split"] == pytest.approx([37.5])
    tail = found["95 %, idle", f"{results.TIMES} its median"]["send"]["split"]
    assert tail == pytest.approx([37.5 / 25])


def options_of_results() -> argparse.Namespace:
    return argparse.Namespace(title=None)


def test_a_server_that_none_finds_is_not_asked_to_send_to_another() -> None:
    kinds = ["send", REMOTE]
    assert asked("ours", {}, remote=object()).kinds(kinds) == kinds
    assert asked("theirs", {}).kinds(kinds) == ["send"]


def test_the_note_says_which_load_was_reached() -> None:
    alone, split = asked("alone", {}), asked("split", {})
    wanted = options()
    assert latency.note([alone, split], wanted, 0.0).endswith(latency.NO_LOAD)
    split.reached = [background.Reached(per_second=9.0), background.Reached(per_second=10.0)]
    text = latency.note([alone, split], wanted, 10.0)
    assert "send 10.0 requests per second" in text
    assert text.endswith("(20.0 per second); split was sent 9.5 per second, 0 of which failed.")


def test_no_two_requests_have_the_same_text() -> None:
    texts = [latency.new_text() for _ in range(100)]
    assert len(set(texts)) == 100
    assert all(text.rpartition(" ")[2].isdigit() for text in texts)


class Handler(http.server.BaseHTTPRequestHandler):
    """It answers a /sync with a position one higher, and counts requests by path."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"] or ""))
        status = 404 if "missing" in self.path else 200
        body = json.dumps({"next_batch": f"s{len(self.seen)}"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server: its URL, and the paths and tokens of its requests."""

    class Own(Handler):
        seen: list[tuple[str, str]] = []  # noqa: RUF012 - of this server alone

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_address[1]}", Own.seen
    serving.shutdown()
    serving.server_close()
    thread.join()


def test_the_load_follows_each_position_and_counts_failures(
    server: tuple[str, list[tuple[str, str]]], tmp_path: Path
) -> None:
    url, seen = server
    requests = tmp_path / "requests"
    requests.write_text(
        "GET\t/sync?since={since}\tone\ts0\t\nGET\t/missing\tone\t\t\n", encoding="utf-8"
    )
    with background.load(url, 50.0, 1, requests) as reached:
        pass
    paths = [path for path, _ in seen]
    assert paths[:3] == ["/sync?since=s0", "/missing", "/sync?since=s1"]
    assert {token for _, token in seen} == {"Bearer one"}
    assert 0 < reached.per_second < 100
    assert abs(reached.errors - paths.count("/missing")) <= 1


def test_no_load_starts_nothing(tmp_path: Path) -> None:
    with background.load("http://127.0.0.1:1", 0.0, 8, tmp_path / "none") as reached:
        assert reached.per_second == 0.0


def test_every_kind_of_request_can_be_chosen() -> None:
    assert [options("--kind", kind).kind for kind in single.KINDS] == [[k] for k in single.KINDS]


def test_the_table_of_processor_time_names_the_programs_that_ran_longest() -> None:
    ran = [{f"p{number}": float(number) for number in range(1, 10)}, {"p1": 100.0}]
    shown = latency.most_used(ran)
    assert shown == ["p1", "p9", "p8", "p7", "p6", "p5"]
    found = latency.columns(ran[0], shown)
    assert list(found) == ["all programs", *shown, "others"]
    assert (found["all programs"], found["p1"], found["others"]) == (45.0, 1.0, 9.0)
    assert latency.columns(ran[1], shown)["p9"] == 0.0
