"""Programs' output: whole lines, each prefixed by the program's name."""

import fcntl
import os

import pytest

from ganglion.supervisor.output import LONGEST_LINE
from tests.fake_supervisor import FakeOptions, end


class Output:
    """A started program whose output a test writes."""

    def __init__(self, options: FakeOptions, capture: pytest.CaptureFixture[str]) -> None:
        self.program = options.program("main")
        self.program.transition()
        self.capture = capture
        (self.dispatcher,) = (item for item in self.program.dispatchers.values() if item.readable())

    def write(self, data: bytes) -> str:
        """Write as the program. Return what the supervisor then wrote to its own stdout."""
        os.write(self.program.config.options.ends["child_stdout"], data)
        self.dispatcher.handle_read_event()
        return self.seen()

    def seen(self) -> str:
        return self.capture.readouterr().out


@pytest.fixture
def output(options: FakeOptions, capfd: pytest.CaptureFixture[str]) -> Output:
    return Output(options, capfd)


def test_every_line_is_prefixed_by_the_programs_name(output: Output) -> None:
    assert output.write(b"one\ntwo\n\n") == "main | one\nmain | two\nmain | \n"


def test_a_line_is_passed_on_when_it_is_whole(output: Output) -> None:
    assert output.write(b"ein ") == ""
    assert output.write("€".encode()[:1]) == ""
    assert output.write("€".encode()[1:] + b"\nand") == "main | ein €\n"
    assert output.write(b"\n") == "main | and\n"


def test_a_very_long_line_is_passed_on_in_pieces(output: Output) -> None:
    assert output.write(b"x" * (LONGEST_LINE - 1)) == ""
    assert output.write(b"y") == f"main | {'x' * (LONGEST_LINE - 1)}y\n"
    assert output.write(b"z\n") == "main | z\n"


def test_control_characters_and_bytes_that_are_not_utf_8_are_escaped(
    options: FakeOptions, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    program = options.program("main")
    program.transition()
    os.write(options.ends["child_stdout"], b"\xff\x00\x1b[31m\t\xc2\x9b\xc3\xa9\r\n")
    program.drain()
    assert capfdbinary.readouterr().out == (b"main | \\xff\\x00\\x1b[31m\t\\xc2\\x9b\xc3\xa9\n")


def test_the_last_line_needs_no_line_break(output: Output) -> None:
    os.write(output.program.config.options.ends["child_stdout"], b"one\nlast words")
    end(output.program)
    assert output.seen() == "main | one\nmain | last words\n"


def test_all_output_is_passed_on_after_a_program_has_ended(
    options: FakeOptions, capfd: pytest.CaptureFixture[str]
) -> None:
    """supervisord itself reads 128 KiB after the end of a program, and no more."""
    program = options.program("main")
    program.transition()
    fcntl.fcntl(options.ends["child_stdout"], fcntl.F_SETPIPE_SZ, 2**20)
    numbers = [str(number) for number in range(50_000)]
    text = "\n".join(numbers).encode()
    assert len(text) > 2 * 128 * 1024
    assert os.write(options.ends["child_stdout"], text) == len(text)
    end(program)
    assert capfd.readouterr().out == "".join(f"main | {number}\n" for number in numbers)


def test_secrets_are_removed_from_every_programs_lines(
    options: FakeOptions, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    program = options.program("nginx")
    program.transition()
    os.write(
        options.ends["child_stdout"], b"GET /sync?access_token=syt_YWxpY2U_abcdefgh HTTP/1.1\n"
    )
    program.drain()
    out = capfdbinary.readouterr().out
    assert out.startswith(b"nginx | GET /sync?access_token=")
    assert b"YWxpY2U" not in out
