"""The handler of Synapse's log: lines are whole, in order and written in batches."""

import io
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ganglion.in_synapse.log_handler import DELAY, FULL, GatheringHandler

# In seconds: a limit far above the time needed, so that a failure ends.
PLENTY = 60


class Writes(io.StringIO):
    """A stream that keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.something = threading.Event()

    def write(self, text: str) -> int:
        self.written.append(text)
        self.something.set()
        return super().write(text)

    def wait(self) -> None:
        """Wait until something is written."""
        assert self.something.wait(PLENTY), "nothing was written"
        self.something.clear()


@dataclass(slots=True)
class Sleep:
    """Stands in for time.sleep: it ends when the test says so."""

    over: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    asked: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.over.acquire()

    def end(self) -> None:
        self.over.release()


@pytest.fixture
def stream() -> Writes:
    return Writes()


@pytest.fixture
def sleep() -> Sleep:
    return Sleep()


@pytest.fixture
def logger(stream: Writes, sleep: Sleep) -> Iterator[logging.Logger]:
    handler = GatheringHandler(sleep)
    handler.setStream(stream)
    made = logging.Logger("gathering")  # noqa: LOG001 - a logger that no other test uses
    made.addHandler(handler)
    yield made
    handler.close()


def test_lines_are_written_together_and_in_order(
    logger: logging.Logger, stream: Writes, sleep: Sleep
) -> None:
    for number in range(100):
        logger.info("line %d", number)
    assert stream.written == []
    sleep.end()
    stream.wait()
    assert stream.written == ["".join(f"line {number}\n" for number in range(100))]
    assert sleep.asked == [DELAY]


def test_later_lines_are_written_after_another_delay(
    logger: logging.Logger, stream: Writes, sleep: Sleep
) -> None:
    logger.info("first")
    sleep.end()
    stream.wait()
    logger.info("second")
    sleep.end()
    stream.wait()
    assert stream.written == ["first\n", "second\n"]


def test_a_warning_is_written_at_once_with_earlier_lines(
    logger: logging.Logger, stream: Writes
) -> None:
    logger.info("before")
    logger.warning("look")
    assert stream.written == ["before\nlook\n"]


def test_a_large_batch_is_written_at_once(logger: logging.Logger, stream: Writes) -> None:
    line = "x" * 1000
    for _ in range(FULL // 1000 + 1):
        logger.info(line)
    assert len(stream.written) == 1
    assert len(stream.written[0]) >= FULL


def test_a_line_that_cannot_be_formatted_is_reported_and_blocks_nothing(
    logger: logging.Logger, stream: Writes, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("%d", "no number")
    logger.error("after")
    assert "--- Logging error ---" in capsys.readouterr().err
    assert stream.written == ["after\n"]


def test_a_handler_of_a_reload_writes_to_stderr_itself(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twisted makes a logger of sys.stderr, and the lines would come back.
    replaced = io.StringIO()
    monkeypatch.setattr("sys.stderr", replaced)
    handler = GatheringHandler()
    handler.emit(logging.makeLogRecord({"msg": "look", "levelno": logging.WARNING}))
    handler.close()
    assert (capfd.readouterr().err, replaced.getvalue()) == ("look\n", "")


def test_a_closed_handler_has_no_thread_and_keeps_no_line(
    logger: logging.Logger, stream: Writes, sleep: Sleep
) -> None:
    others = threading.enumerate()
    logger.info("first")
    (thread,) = (each for each in threading.enumerate() if each not in others)
    logger.handlers[0].close()
    sleep.end()
    thread.join(PLENTY)
    assert not thread.is_alive()
    logger.info("second")
    assert stream.written == ["first\n", "second\n"]
