"""Synapse's records in text: none passes for two, and files have neither secrets nor a size."""

import io
import json
import logging
from pathlib import Path

import pytest

from ganglion.in_synapse.log_file import LOOK, RotatingFile
from ganglion.in_synapse.log_format import FileFormatter, Formatter
from ganglion.logs.redact import Known

FORM = "%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - None - %(message)s"


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("synapse.x", logging.INFO, "", 7, message, (), None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_a_line_break_in_a_name_begins_no_record(end: str) -> None:
    forged = FORM % {
        "asctime": "2023-11-14 22:13:21,250", "name": "a", "lineno": 1, "levelname": "ERROR",
        "message": "forged",
    }  # fmt: skip
    _, *rest = Formatter(FORM).format(record(f"user bob{end}{forged}")).splitlines()
    assert rest == [f"    {forged}"]


def test_a_file_has_no_secret_and_no_escape() -> None:
    text = FileFormatter(FORM).format(
        record("access_token=syt_abcdefghijk\x1b[2J\n\x9b password=xyz")
    )
    assert "abcdefghijk" not in text
    assert "xyz" not in text
    assert "\x1b" not in text
    assert "\x9b" not in text


def test_a_file_has_no_secret_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Known()
    own.add(["s3cret-of-postgres"])
    monkeypatch.setattr("ganglion.in_synapse.log_format.OWN", own)
    text = FileFormatter(FORM).format(record("no connection: s3cret-of-postgres"))
    assert text.endswith(" - no connection: <redacted>")


def test_a_file_may_have_json() -> None:
    text = FileFormatter(FORM, "main", "main").format(record("one\ntwo"))
    found = json.loads(text)
    assert (found["message"], found["process"], found["level"]) == ("one\n    two", "main", "INFO")


def handler(path: Path, clock: Clock) -> RotatingFile:
    return RotatingFile(str(path), 1000, 2, clock)


def test_a_file_is_rotated_by_its_size(tmp_path: Path) -> None:
    log = handler(tmp_path / "main.log", Clock())
    for _ in range(200):
        log.emit(record("x" * 90))
    log.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 3
    assert max(sizes) <= 1000


def test_a_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "main.log"
    log = handler(path, clock)
    log.emit(record("one"))
    path.unlink()
    clock.now += LOOK
    log.emit(record("two"))
    log.close()
    assert path.read_text() == "two\n"


def test_a_full_disk_is_reported_once_a_minute_and_raises_nothing(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    # As in Synapse, where Twisted makes a logger of it.
    monkeypatch.setattr("sys.stderr", io.StringIO())
    # Rotation would rename the device.
    log = RotatingFile("/dev/full", 0, 0, clock)
    for _ in range(50):
        log.emit(record("x"))
    clock.now += 60
    log.emit(record("x"))
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(" - ", 2)[2] for line in lines] == [
        "0 - ERROR - sentinel - cannot write to /dev/full: No space left on device; lines lost: 1",
        "0 - ERROR - sentinel - cannot write to /dev/full: No space left on device; lines lost: 50",
    ]


def test_a_file_that_cannot_be_looked_for_stops_no_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clock, path = Clock(), tmp_path / "main.log"
    log = handler(path, clock)
    log.emit(record("one"))
    path.unlink()
    # Links that lead to each other: neither can be looked for or opened, by root neither.
    path.symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(path)
    clock.now += LOOK
    log.emit(record("two"))
    assert "Too many levels of symbolic links; lines lost: 1" in capfd.readouterr().err


def test_a_file_that_another_program_replaced_is_used(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "main.log"
    log = handler(path, clock)
    log.emit(record("one"))
    path.rename(tmp_path / "main.log.old")
    path.write_text("")
    clock.now += LOOK
    log.emit(record("two"))
    log.close()
    assert path.read_text() == "two\n"
