"""Lines of Synapse's log: gathered, in order, whole, and not for long."""

import io
import logging
import time
from collections.abc import Iterator

import pytest

from ganglion.in_synapse.log_handler import DELAY, FULL, GatheringHandler


class Writes(io.StringIO):
    """A stream that remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text)
        return super().write(text)


@pytest.fixture
def stream() -> Writes:
    return Writes()


@pytest.fixture
def logger(stream: Writes) -> Iterator[logging.Logger]:
    handler = GatheringHandler()
    handler.setStream(stream)
    made = logging.Logger("gathering")  # noqa: LOG001 - one of its own, which no other test has
    made.addHandler(handler)
    yield made
    handler.close()


def wait(stream: Writes, within: float = 20 * DELAY) -> None:
    deadline = time.monotonic() + within
    while not stream.written:
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(DELAY / 10)


def test_lines_are_written_together_and_in_order(logger: logging.Logger, stream: Writes) -> None:
    for number in range(100):
        logger.info("line %d", number)
    assert stream.written == []
    wait(stream)
    assert stream.written == ["".join(f"line {number}\n" for number in range(100))]


def test_more_lines_are_written_later(logger: logging.Logger, stream: Writes) -> None:
    logger.info("first")
    wait(stream)
    stream.written.clear()
    logger.info("second")
    wait(stream)
    assert stream.getvalue() == "first\nsecond\n"


def test_a_warning_is_written_at_once_with_what_came_before(
    logger: logging.Logger, stream: Writes
) -> None:
    logger.info("before")
    logger.warning("look")
    assert stream.written == ["before\nlook\n"]


def test_many_lines_are_not_kept(logger: logging.Logger, stream: Writes) -> None:
    line = "x" * 1000
    for _ in range(FULL // 1000 + 1):
        logger.info(line)
    assert len(stream.written) == 1
    assert len(stream.written[0]) >= FULL


def test_what_cannot_be_formatted_is_told_and_keeps_nothing_back(
    logger: logging.Logger, stream: Writes, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("%d", "no number")
    logger.error("after")
    assert "--- Logging error ---" in capsys.readouterr().err
    assert stream.written == ["after\n"]
