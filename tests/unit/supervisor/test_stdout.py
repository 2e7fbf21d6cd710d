"""stdout that pauses, goes away or fails never blocks the supervisor, nor raises in it."""

import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor import loggers

from ganglion.logs.escape import escaped
from ganglion.supervisor.output import SURE, Output, OutputHandler

LINE = b"main | " + b"x" * 92 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue


def everything(reader: int) -> bytes:
    found = b""
    while select.select([reader], [], [], 0)[0]:
        found += os.read(reader, 1 << 20)
    return found


def test_lines_arrive_at_once_where_a_reader_is_ready(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1])
    output.put(LINE)
    assert everything(pipe[0]) == LINE
    assert not output.writable()


@pytest.mark.timeout(30)
def test_a_paused_reader_blocks_nothing_and_loses_only_what_does_not_fit(
    pipe: tuple[int, int],
) -> None:
    output = Output(pipe[1], most=100_000)
    for _ in range(3_000):
        output.put(LINE)
    # 64 KiB are in the pipe, 100,000 bytes wait, the rest was dropped.
    assert output.writable()
    assert 0 < output.dropped < 3_000
    dropped, found = output.dropped, b""
    while output.writable():
        found += everything(pipe[0])
        output.handle_write_event()
    found += everything(pipe[0])
    notice = b"supervisor | %d lines were lost: standard output could not take them\n" % dropped
    assert notice in found
    assert found.replace(notice, b"") == LINE * (3_000 - dropped)


@pytest.mark.timeout(30)
def test_a_long_line_is_written_in_pieces_that_never_block(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1])
    text = b"y" * (3 * 64 * 1024 + 5) + b"\n"
    output.put(text)
    found = b""
    while len(found) < len(text):
        found += everything(pipe[0])
        output.handle_write_event()
    assert found == text
    assert SURE <= select.PIPE_BUF


def test_a_reader_that_goes_away_is_counted_and_nothing_more(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1])
    os.close(pipe[0])
    for _ in range(10):
        output.put(LINE)
    assert output.errors >= 1
    output.finish(0.1)
    assert not output.writable() or output.errors >= 10


def test_a_full_disk_is_counted_and_nothing_more() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        output = Output(descriptor)
        for _ in range(10):
            output.put(LINE)
        assert output.errors >= 10
        output.finish(0.1)
        assert output.dropped == 10
    finally:
        os.close(descriptor)


def test_lines_after_a_repaired_disk_are_written_with_a_notice(tmp_path: Path) -> None:
    target = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    output = Output(target)
    kept = os.dup(target)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, target)
    output.put(LINE)
    os.dup2(kept, target)
    output.put(LINE)
    text = (tmp_path / "log").read_bytes()
    assert text == (b"supervisor | 1 lines were lost: standard output could not take them\n" + LINE)
    for descriptor in (target, kept, full):
        os.close(descriptor)


@pytest.mark.timeout(30)
def test_the_last_lines_wait_for_a_slow_reader(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1])
    for _ in range(1_000):
        output.put(LINE)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(os.read(pipe[0], 1 << 20)))
    reader.start()
    output.finish(20)
    reader.join()
    assert found[0] + everything(pipe[0]) == LINE * 1_000


def test_the_mode_of_a_shared_descriptor_is_left_alone(pipe: tuple[int, int]) -> None:
    Output(pipe[1]).put(LINE)
    assert os.get_blocking(pipe[1])


def test_supervisords_own_log_is_escaped_line_by_line(pipe: tuple[int, int]) -> None:
    logger = loggers.getLogger(20)
    handler = OutputHandler(Output(pipe[1]), "%(levelname)s %(message)s")
    handler.setLevel(20)
    logger.addHandler(handler)
    logger.info("one\ntwo\x1b[2J")
    assert everything(pipe[0]) == b"supervisor | INFO one\nsupervisor |     two\\x1b[2J\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"plain \xc3\xa9 \xe2\x82\xac", b"plain \xc3\xa9 \xe2\x82\xac"),
        (b"bell\x07 back\x08 del\x7f", b"bell\\x07 back\\x08 del\\x7f"),
        (b"fake\rmain | forged", b"fake\\x0dmain | forged"),
        (b"csi \xc2\x9b31m", b"csi \\xc2\\x9b31m"),
        (b"windows\r", b"windows"),
    ],
)
def test_nothing_reaches_the_terminal_as_a_command(line: bytes, expected: bytes) -> None:
    assert escaped(line) == expected
