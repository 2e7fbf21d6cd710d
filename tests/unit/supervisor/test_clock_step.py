"""Synapse's processes are restarted after the clock was set back."""

import errno
import os

import pytest

from ganglion.supervisor.clock_step import LEAST, StepsBack
from ganglion.supervisor.program import GatedProcess
from tests.fake_supervisor import FakeOptions, end, run, state

COMMAND = "/bin/python -m synapse.app.generic_worker --config-path a.yaml"
HOUR = 3600.0


class Clocks:
    """The time of day, which is set, and the other clock."""

    def __init__(self) -> None:
        self.day, self.steady = 1e9, 50.0

    def go_on(self, seconds: float, *, step: float = 0.0) -> None:
        self.steady += seconds
        self.day += seconds + step


class Machine:
    """Programs, of which nginx is not Synapse's, and what looks for steps."""

    def __init__(self, options: FakeOptions) -> None:
        self.options = options
        for name in ("main", "reader1", "writer1", "nginx"):
            program = options.program(name)
            if name != "nginx":
                program.config.command = COMMAND
            run(program)
        self.lines: list[str] = []
        self.clocks = Clocks()
        self.steps = StepsBack(
            options.programs,
            self.lines.append,
            lambda: self.clocks.day,
            lambda: self.clocks.steady,
        )

    def __getitem__(self, name: str) -> GatedProcess:
        return self.options.programs[name]

    def second(self, step: float = 0.0) -> list[str]:
        """Let a second pass. Returns the programs that are being restarted."""
        self.clocks.go_on(1.0, step=step)
        self.steps.look()
        return [name for name, program in self.options.programs.items() if program.restarting]

    def replace(self, name: str) -> None:
        """Let the process of a program end, and the next one get ready."""
        end(self[name], 0)
        run(self[name])


@pytest.fixture
def machine(options: FakeOptions) -> Machine:
    return Machine(options)


def test_each_process_is_restarted_after_the_one_before_and_main_last(machine: Machine) -> None:
    assert machine.second() == []
    assert machine.second(step=-HOUR) == ["reader1"]
    assert machine.second() == ["reader1"]
    end(machine["reader1"], 0)
    assert machine.second() == []
    machine["reader1"].transition()
    assert (machine.second(), state(machine["reader1"])) == ([], "STARTING")
    machine["reader1"].mark_ready()
    assert machine.second() == ["writer1"]
    machine.replace("writer1")
    assert machine.second() == ["main"]
    machine.replace("main")
    assert [machine.second() for _ in range(3)] == [[], [], []]
    (line,) = machine.lines
    assert line.startswith("the clock was set back by 3600 s: Synapse's processes are restarted")


@pytest.mark.parametrize("step", [HOUR, 40 * 365 * 24 * HOUR, 1 - LEAST])
def test_other_steps_restart_nothing(machine: Machine, step: float) -> None:
    assert machine.second(step=step) == []
    assert machine.second() == []
    assert machine.lines == []


def test_a_second_step_begins_again(machine: Machine) -> None:
    machine.second(step=-HOUR)
    machine.replace("reader1")
    assert machine.second(step=-HOUR) == ["reader1"]
    assert len(machine.lines) == 2


def test_a_process_that_ended_meanwhile_is_not_restarted_again(machine: Machine) -> None:
    machine.second(step=-HOUR)
    machine.replace("writer1")
    machine.replace("reader1")
    assert machine.second() == ["main"]


def test_others_decide_on_what_they_hold(machine: Machine) -> None:
    machine["reader1"].pause()
    machine["writer1"].held = True
    assert machine.second(step=-HOUR) == ["main"]


def test_a_program_that_is_gone_or_keeps_failing_stops_nothing(machine: Machine) -> None:
    machine.second(step=-HOUR)
    end(machine["reader1"], 0)
    machine["reader1"].transition()
    end(machine["reader1"])
    assert state(machine["reader1"]) == "BACKOFF"
    del machine.options.programs["writer1"]
    assert machine.second() == ["main"]


def test_a_process_that_cannot_be_restarted_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks() -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def fails() -> None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(machine["reader1"], "restart", lacks)
    for _ in range(2):
        # The supervisor reports a lack, and looks again.
        with pytest.raises(OSError, match="Resource temporarily unavailable"):
            machine.second(step=-HOUR)
    monkeypatch.setattr(machine["reader1"], "restart", fails)
    machine.second()
    assert machine.lines[-1] == "reader1 goes on as it is: [Errno 2] No such file or directory"
    assert machine.second() == ["writer1"]
