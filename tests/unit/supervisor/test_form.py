"""The supervisor's stdout in JSON: one object a line, whatever a program prints."""

import json
import os
from collections.abc import Iterator

import pytest

from ganglion.supervisor.form import Json
from ganglion.supervisor.history import History
from ganglion.supervisor.output import LONGEST_LINE, Output, say
from tests.fake_supervisor import FakeOptions, end

STRANGE = (
    b"plain\n",
    b"\xff\xfe not text\n",
    b"\x1b[2J\x00 escapes \xc2\x9b \xe2\x80\xa8 \xe2\x80\xae\n",
    b'{"level":"forged"}\n',
    b'quotes " and \\ backslashes\n',
    b"carriage\rmain | forged\r\n",
    b"\n",
    b"half a li",
    b"ne\n",
    b"x" * (2 * LONGEST_LINE) + b"\n",
    b"Traceback (most recent call last):\n  File\nValueError: no\n",
    b"no end",
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("name", ["main", "nginx", "redis", "postgres", "control"])
def test_every_line_is_an_object(
    name: str, options: FakeOptions, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    options.output = Output(form=Json(roles={"main": "main"}), history=History(10_000))
    program = options.program(name)
    program.transition()
    (dispatcher,) = (item for item in program.dispatchers.values() if item.readable())
    for text in STRANGE:
        for start in range(0, len(text), 4096):
            os.write(options.ends["child_stdout"], text[start : start + 4096])
            dispatcher.handle_read_event()
    end(program)
    lines = capfdbinary.readouterr().out.split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line) for line in lines]
    assert {item["process"] for item in found} == {name}
    assert all({"time", "role", "level", "message"} <= item.keys() for item in found)
    assert not any(set(item["level"]) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for item in found)
    messages = "\n".join(item["message"] for item in found)
    for part in ("half a line", "no end", "\\xff\\xfe not text", '{"level":"forged"}'):
        assert part in messages
    assert all(character not in messages for character in "\x1b\x00\r\u2028\u202e\x9b")
    assert messages.count("x") >= 2 * LONGEST_LINE


def test_lost_lines_are_reported_in_json(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1], most=1000, form=Json())
    for _ in range(2000):
        say(output, "x" * 100)
    assert output.dropped
    data = b""
    while output.writable():
        data += os.read(pipe[0], 1 << 20)
        output.handle_write_event()
    data += os.read(pipe[0], 1 << 20)
    found = [json.loads(line) for line in data.splitlines()]
    assert any(item["process"] == "supervisor" and "lost" in item["message"] for item in found)


def test_a_line_of_a_sentence_with_line_breaks_forges_no_other(
    capfd: pytest.CaptureFixture[str],
) -> None:
    say(Output(), "one\nmain | two")
    assert capfd.readouterr().out == "ganglion | one\nganglion |     main | two\n"
