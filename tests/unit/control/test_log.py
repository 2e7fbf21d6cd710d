"""The log of the control application: its level, and the server's health in it."""

import logging
from pathlib import Path

import pytest
from gunicorn.config import Config

from ganglion.control.log import Spoken, logger_class
from ganglion.control.verdict import NOT_YET, Verdict, Word


def verdict(word: Word, **problems: str) -> Verdict:
    return Verdict(word=word, problems=problems)


READY = verdict(Word.READY)


def heard(*verdicts: Verdict) -> list[tuple[int, str]]:
    """Return the lines about verdicts that come a second after each other."""
    said: list[tuple[int, str]] = []
    seconds = iter(range(100))
    spoken = Spoken(say=lambda level, text: said.append((level, text)), clock=lambda: next(seconds))
    for item in verdicts:
        spoken.hear(item)
    return said


def test_the_beginning_and_the_end_of_a_fault_are_logged_once() -> None:
    hung = "does not answer: no response in time"
    assert heard(
        READY,
        READY,
        verdict(Word.FAILING, postgres=hung),
        verdict(Word.FAILING, postgres="does not answer: another reason"),
        verdict(Word.FAILING, postgres=hung, main="does not answer"),
        READY,
        READY,
    ) == [
        (logging.ERROR, f"health is failing: postgres {hung}"),
        (logging.ERROR, f"health is failing: postgres {hung}; main does not answer"),
        (logging.WARNING, "health is ready again, after 4 s: all parts work"),
    ]


def test_a_worker_that_is_down_is_a_warning() -> None:
    ((level, text),) = heard(READY, verdict(Word.DEGRADED, sync1="is backoff"))
    assert (level, text) == (logging.WARNING, "health is degraded: sync1 is backoff")


def test_a_start_is_no_fault() -> None:
    starting = verdict(Word.STARTING, nginx="does not answer")
    unknown = verdict(Word.FAILING, main=NOT_YET, redis="does not answer")
    assert heard(starting, unknown, READY) == []


def test_the_level_is_that_of_the_file_at_once_and_when_files_are_read_anew(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.level"
    path.write_text("level: WARNING\n")
    log = logger_class(str(path))(Config())
    assert log.error_log.level == logging.WARNING
    path.write_text("level: DEBUG\n")
    log.reopen_files()
    assert log.error_log.level == logging.DEBUG
    path.write_text("level: LOUD\n")
    log.reopen_files()
    assert log.error_log.level == logging.DEBUG
    assert "the level stays as it is: Unknown level: 'LOUD'" in capfd.readouterr().err
