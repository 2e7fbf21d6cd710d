"""Lines of each program as records, and records as JSON."""

import json

import pytest

from ganglion.logs.record import Reader, Record, as_json, is_of

NOW = 1_700_000_000.5


def read(kind: str, *lines: str) -> list[Record]:
    return Reader(kind).read(lines, NOW)


@pytest.mark.parametrize(
    ("kind", "line", "level", "message", "request_id"),
    [
        (
            "synapse",
            "2023-11-14 22:13:21,250 - synapse.access - 500 - INFO - GET-abc12345 - Processed",
            "INFO",
            "Processed",
            "abc12345",
        ),
        (
            "synapse",
            "2023-11-14 22:13:21,250 - synapse.x - 1 - WARNING - rotate - a - b",
            "WARNING",
            "a - b",
            None,
        ),
        ("nginx", "2023/11/14 22:13:21 [crit] 7#7: *3 down", "CRITICAL", "7#7: *3 down", None),
        (
            "nginx",
            '1700000001.250 [access] GET-my.own-id ::1 "GET /sync HTTP/1.1" 200 7 0.003 - - "-"',
            "INFO",
            '::1 "GET /sync HTTP/1.1" 200 7 0.003 - - "-"',
            "GET-my.own-id",
        ),
        (
            "nginx",
            '1700000001.250 [access] 0123 1.2.3.4 "GET /sync HTTP/1.1" 502 7 0.003 - - "-"',
            "WARNING",
            '1.2.3.4 "GET /sync HTTP/1.1" 502 7 0.003 - - "-"',
            "0123",
        ),
        ("redis", "7:M 14 Nov 2023 22:13:21.250 # Ready", "WARNING", "Ready", None),
        (
            "postgres",
            "2023-11-14 22:13:21.250 UTC [9] synapse@synapse ERROR:  no",
            "ERROR",
            "no",
            None,
        ),
        ("control", "[2023-11-14 22:13:21 +0000] [7] [INFO] Listening", "INFO", "Listening", None),
        ("supervisor", "2023-11-14 22:13:21,250 CRIT gone", "CRITICAL", "gone", None),
    ],
)
def test_each_program_is_understood(
    kind: str, line: str, level: str, message: str, request_id: str | None
) -> None:
    (record,) = read(kind, line)
    assert (record.level, record.message, record.request) == (level, message, request_id)
    assert int(record.time) == 1_700_000_001


def test_a_traceback_in_the_log_is_one_record() -> None:
    found = read(
        "synapse",
        "2023-11-14 22:13:21,250 - synapse.x - 1 - ERROR - GET-abcdefgh - failed",
        "    Traceback (most recent call last):",
        "    ValueError: no",
        "2023-11-14 22:13:22,250 - synapse.x - 1 - INFO - None - next",
    )
    assert [len(record.message.split("\n")) for record in found] == [3, 1]


def test_a_traceback_that_python_printed_is_one_record() -> None:
    found = read(
        "synapse", "Traceback (most recent call last):", '  File "x"', "ValueError: no", "z"
    )
    assert [record.message.partition("\n")[0] for record in found] == [
        "Traceback (most recent call last):",
        "z",
    ]
    assert found[0].level == "ERROR"


def test_a_message_of_postgresql_with_its_details_is_one_record() -> None:
    prefix = "2023-11-14 22:13:21.250 UTC [9] "
    found = read("postgres", f"{prefix}FATAL:  a", f"{prefix}DETAIL:  b", "\tc", f"{prefix}LOG:  d")
    assert [record.message for record in found] == ["a\nDETAIL:  b\n\tc", "d"]


def test_the_rest_of_a_record_that_comes_later_says_so() -> None:
    reader = Reader("synapse")
    first = "2023-11-14 22:13:21,250 - synapse.x - 1 - ERROR - GET-abcdefgh - failed"
    (before,) = reader.read([first], NOW)
    (later,) = reader.read(["    more"], NOW)
    assert later.continues
    assert (later.level, later.time, later.request) == ("ERROR", before.time, "abcdefgh")


@pytest.mark.parametrize("kind", ["synapse", "nginx", "redis", "postgres", "supervisor", "other"])
@pytest.mark.parametrize("line", ["", " ", "\t", "{}", '{"level": 1}', "ä\u2028", "9" * 70_000])
def test_any_line_becomes_one_json_object(kind: str, line: str) -> None:
    (record,) = read(kind, line)
    text = as_json(record, "p", "r")
    assert "\n" not in text
    assert json.loads(text)["message"] == line


def test_a_time_that_is_none_is_that_of_arrival() -> None:
    (record,) = read("postgres", "2023-99-99 22:13:21.250 UTC [9] LOG:  x")
    assert record.time == NOW


def test_a_part_of_a_request_belongs_to_it() -> None:
    record = Record(time=0, level="INFO", message="", request="abcdefgh-$event")
    assert is_of(record, "abcdefgh")
    assert not is_of(record, "abcdefg")
