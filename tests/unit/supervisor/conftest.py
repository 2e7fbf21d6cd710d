"""The fake supervisord of these tests."""

from collections.abc import Iterator

import pytest
from supervisor import events, process

from ganglion.supervisor.successor import Successor
from tests.fake_supervisor import FakeClock, FakeOptions


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOptions]:
    clock = FakeClock()
    # supervisord takes no clock, so its module's name `time` is the only way to give it one.
    monkeypatch.setattr(process, "time", clock)
    made = FakeOptions(clock)
    yield made
    for program in made.programs.values():
        program.sockets.close()
    for successor in [each for each in made.pidhistory.values() if isinstance(each, Successor)]:
        successor.end()
        successor.finish(successor.pid, 0)
    for gate in made.gates:
        gate.close()
    made.close_pipes()
    events.clear()
