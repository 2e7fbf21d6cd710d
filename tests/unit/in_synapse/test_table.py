"""The table in which processes publish how far they have written and seen streams."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ganglion.in_synapse.test_agent.table import Table

PROCESSES = ("main", "writer1", "reader1")
STREAMS = ("events", "typing")


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    """The table as each process uses it; all have started."""
    made = {name: Table(tmp_path / "table", PROCESSES, STREAMS, name) for name in PROCESSES}
    for table in made.values():
        table.open()
    return made


def behind(table: Table, *, seen: bool = False, running: bool = False) -> list[str]:
    return [str(lag) for lag in table.behind(table.unconfirmed(seen=seen), running=running)]


def test_a_position_is_waited_for_until_every_process_has_seen_it(
    tables: dict[str, Table],
) -> None:
    assert tables["main"].unconfirmed(seen=False) == {}
    tables["writer1"].wrote({"events": 7})
    for name in PROCESSES:
        assert behind(tables[name]) == [
            "main has not seen events of writer1 up to 7",
            "reader1 has not seen events of writer1 up to 7",
        ]
    tables["main"].saw("events", "writer1", 7)
    tables["reader1"].saw("events", "writer1", 6)
    assert behind(tables["main"]) == ["reader1 has not seen events of writer1 up to 7"]
    tables["reader1"].saw("events", "writer1", 8)
    assert behind(tables["main"]) == []
    assert tables["main"].unconfirmed(seen=False) == {}


def test_a_position_seen_here_is_waited_for_on_demand(tables: dict[str, Table]) -> None:
    """The writer publishes it only when it answers."""
    tables["reader1"].saw("typing", "writer1", 3)
    assert behind(tables["reader1"]) == []
    assert behind(tables["reader1"], seen=True) == ["main has not seen typing of writer1 up to 3"]
    assert behind(tables["main"], seen=True) == []


def test_positions_may_begin_anew(tables: dict[str, Table], tmp_path: Path) -> None:
    """Those of typing do when their writer restarts."""
    tables["writer1"].wrote({"typing": 9})
    for name in ("main", "reader1"):
        tables[name].saw("typing", "writer1", 9)
    assert behind(tables["main"]) == []
    again = Table(tmp_path / "table", PROCESSES, STREAMS, "writer1")
    again.open()
    for name in ("main", "reader1"):
        tables[name].saw("typing", "writer1", 0)
    again.wrote({"typing": 1})
    assert len(behind(tables["main"])) == 2


def test_a_process_that_starts_is_not_waited_for(tables: dict[str, Table], tmp_path: Path) -> None:
    starting = Table(tmp_path / "table", PROCESSES, STREAMS, "reader1")
    tables["writer1"].wrote({"events": 1})
    assert behind(tables["main"]) == ["main has not seen events of writer1 up to 1"]
    tables["writer1"].wrote({"events": 2})
    starting.open()
    assert len(behind(tables["main"])) == 2


def test_a_process_that_does_not_run_is_not_waited_for(tmp_path: Path) -> None:
    """A test may stop it or kill it."""
    path = tmp_path / "table"
    writer = Table(path, PROCESSES, STREAMS, "writer1")
    writer.wrote({"events": 1})
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from ganglion.in_synapse.test_agent.table import Table\n"
        f"Table(Path({str(path)!r}), {PROCESSES!r}, {STREAMS!r}, 'reader1').open()\n"
        "print(flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        late = ["reader1 has not seen events of writer1 up to 1"]
        assert behind(writer, running=True) == late
        reader.send_signal(signal.SIGSTOP)
        os.waitpid(reader.pid, os.WUNTRACED)
        assert behind(writer) == late
        assert behind(writer, running=True) == []
        reader.kill()
    writer.wrote({"events": 2})
    assert behind(writer, running=True) == []


def test_positions_of_processes_that_are_not_listed_are_ignored(tables: dict[str, Table]) -> None:
    tables["main"].saw("events", "old_worker", 5)
    assert behind(tables["main"], seen=True) == []
