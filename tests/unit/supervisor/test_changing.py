"""A change of the layout in the supervisor: each of its steps may fail, and no two lists are alive.

The programs are fake. A round of the rehearsal lets those end that got a signal, and those get
ready that have started, as far as the test lets them.
"""

import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from supervisor.options import ProcessGroupConfig
from supervisor.states import ProcessStates

from ganglion.supervisor.change_request import Places, Request, obstacle
from ganglion.supervisor.changing import READY_WITHIN, Changing
from ganglion.supervisor.daemon import Daemon
from ganglion.supervisor.program import GatedProcess
from ganglion.supervisor.start_times import Timeline
from tests.fake_supervisor import FakeOptions, end, run

OLD = ("main", "event_persister1", "event_persister2", "synchrotron1", "synchrotron2")
NEW = ("main", "event_persister1", "event_persister2", "event_persister3", "synchrotron1")
TOGETHER = ("main", "event_persister1", "event_persister2", "synchrotron1")
REQUEST: dict[str, Any] = {
    "steps": [
        ["stop", ["synchrotron1", "synchrotron2"]],
        ["stop", ["main"]],
        ["stop", ["event_persister1", "event_persister2"]],
        ["files", []],
        ["proxy", ["nginx"]],
        ["remove", ["synchrotron2"]],
        ["start", list(NEW)],
    ],
    "added": ["event_persister3"],
    "removed": ["synchrotron2"],
    "together": list(TOGETHER),
    "keep": True,
}
# Of nginx's workers: no process has such an ID.
FIRST_WORKER = 10**8
# More than any time limit takes, in rounds of half a second.
MOST_ROUNDS = 2000


def write(directory: Path, names: tuple[str, ...], which: str) -> None:
    """Write the files of a layout. All processes read `lists`."""
    directory.mkdir()
    conf = directory.parent / "conf"
    sections = []
    for name in names:
        app = "homeserver" if name == "main" else "generic_worker"
        files = (directory.parent / "operator.yaml", conf / "lists", conf / f"{name}.yaml")
        words = shlex.join([word for file in files for word in ("--config-path", str(file))])
        sections.append(
            f"[program:{name}]\ncommand = python -m synapse.app.{app} {words}\n"
            "autorestart = true\nstartretries = 4\nredirect_stderr = true\nstdout_logfile = NONE\n"
            f'environment = GANGLION_LISTENS="unix:{directory.parent}/{name}.sock"\n'
        )
    sections.append(f"[group:synapse]\nprograms = {', '.join(names)}\npriority = 500\n")
    (directory / "supervisord.conf").write_text("\n".join(sections))
    (directory / "lists").write_text(which)


@dataclass
class Rehearsal:
    """The supervisor of `options`, with fake programs, of which some fail.

    `fails` says whether a process fails to start with a list, `hangs` whether it never gets ready.
    """

    options: FakeOptions
    directory: Path
    fails: Callable[[str, str], bool] = lambda _name, _which: False
    hangs: Callable[[str, str], bool] = lambda _name, _which: False
    # How often nginx ignores a reload.
    ignored_reloads: int = 0
    lists: dict[int, str] = field(default_factory=dict)
    workers: list[int] = field(default_factory=lambda: [FIRST_WORKER])
    handled: int = 0

    def __post_init__(self) -> None:
        write(self.directory / "conf", OLD, "old")
        write(self.directory / "conf.next", NEW, "new")
        (self.directory / "operator.yaml").write_text("{}")
        (self.directory / "data").mkdir()
        self.places = Places(
            conf=self.directory / "conf", record=self.directory / "data" / "applied.json"
        )
        self.places.staged.write_text("new")
        self.options.configfile = str(self.directory / "conf" / "supervisord.conf")
        self.daemon = Daemon(self.options, Timeline())
        config = ProcessGroupConfig(self.options, "synapse", 500, [])
        self.group = self.daemon.process_groups["synapse"] = config.make_group()
        parser = Changing(self.daemon, Request.read(REQUEST), self._as_taken())._read_configs()
        for name in OLD:
            self.group.processes[name] = parser[name].make_process(self.group)
            run(self.group.processes[name])
        run(self.options.program("nginx"))
        self.before = self.pids
        self._note_lists()

    def _as_taken(self) -> Places:
        """Places whose files to read are those of the present layout."""

        class Present(Places):
            @property
            def taken(self) -> Path:
                return self.conf

        return Present(conf=self.places.conf, record=self.places.record)

    @property
    def programs(self) -> dict[str, GatedProcess]:
        return self.options.programs

    @property
    def pids(self) -> dict[str, int]:
        return {name: program.pid for name, program in self.programs.items()}

    def begin(self) -> Changing:
        request = Request.read(REQUEST)
        self.places.take(keep=request.keep)
        return Changing(self.daemon, request, self.places, lambda _: tuple(self.workers))

    def change(self) -> dict[str, Any]:
        """Carry the change out, and return its result."""
        changing = self.begin()
        for _ in range(MOST_ROUNDS):
            changing.advance()
            if changing.result is not None:
                return changing.result
            self.round()
        raise AssertionError("it does not end")

    def round(self) -> None:
        self.options.fake_clock.now += 0.5
        for program in list(self.programs.values()):
            program.transition()
        self._note_lists()
        for program in list(self.programs.values()):
            if program.pid and program.state == ProcessStates.STARTING:
                name, which = program.config.name, self.lists.get(program.pid, "")
                if self.fails(name, which):
                    end(program)
                elif not self.hangs(name, which):
                    program.mark_ready()
        self._handle_signals()
        self._note_lists()

    def _handle_signals(self) -> None:
        signals = self.options.signals[self.handled :]
        self.handled = len(self.options.signals)
        for pid, number in signals:
            found = next((each for each in self.programs.values() if each.pid == pid), None)
            if found is None:
                continue
            if number == signal.SIGHUP:
                if self.ignored_reloads:
                    self.ignored_reloads -= 1
                else:
                    self.workers = [self.workers[-1] + 1]
            elif number in (signal.SIGTERM, signal.SIGKILL):
                end(found, 0)

    def _note_lists(self) -> None:
        """Note the list that each process has started with. No two may be alive at once."""
        path = str(self.places.conf / "lists")
        alive = {}
        for name, program in self.programs.items():
            if program.pid and program.config.is_synapse:
                contents = program.used if program.goes_back else program.tried
                assert contents
                self.lists.setdefault(program.pid, contents[path].decode())
                alive[name] = self.lists[program.pid]
        assert len(set(alive.values())) <= 1, f"two lists alive at once: {alive}"

    def check_is_back(self) -> None:
        """Nothing is left of the change, and all processes have the list of before."""
        assert set(self.programs) == {*OLD, "nginx"}
        assert all(program.ready for program in self.programs.values())
        assert {self.lists[self.programs[name].pid] for name in OLD} == {"old"}
        assert not any(p.held or p.keeps_sockets for p in self.programs.values())
        assert (self.places.conf / "lists").read_text() == "old"
        self.check_is_clean()
        assert not self.places.record.exists()
        assert all((self.directory / f"{name}.sock").exists() for name in OLD)
        assert not (self.directory / "event_persister3.sock").exists()

    def check_is_clean(self) -> None:
        assert sorted(p.name for p in self.directory.glob("conf*")) == ["conf"]
        assert {p.name for p in self.places.record.parent.iterdir()} <= {"applied.json"}


@pytest.fixture
def rehearsal(options: FakeOptions, short_path: Path) -> Rehearsal:
    return Rehearsal(options, short_path)


def test_the_new_layout_takes_over(rehearsal: Rehearsal) -> None:
    result = rehearsal.change()
    assert len(result["took"]) == len(REQUEST["steps"])
    assert set(rehearsal.programs) == {*NEW, "nginx"}
    assert all(program.ready for program in rehearsal.programs.values())
    assert {rehearsal.lists[rehearsal.programs[name].pid] for name in NEW} == {"new"}
    assert rehearsal.places.record.read_text() == "new"
    assert rehearsal.pids["nginx"] == rehearsal.before["nginx"]
    assert not (rehearsal.directory / "synchrotron2.sock").exists()
    rehearsal.check_is_clean()


@pytest.mark.parametrize("name", NEW)
def test_a_process_that_fails_with_the_new_list_brings_the_old_one_back(
    rehearsal: Rehearsal, name: str
) -> None:
    """It may not start again with its old list beside the others, as after a restart."""
    rehearsal.fails = lambda who, which: (who, which) == (name, "new")
    result = rehearsal.change()
    assert result["error"].startswith(f"{name} did not get ready; see its log")
    assert result["error"].endswith("; the layout before is back")
    rehearsal.check_is_back()


@pytest.mark.parametrize("name", NEW)
def test_a_process_that_hangs_brings_the_old_list_back(rehearsal: Rehearsal, name: str) -> None:
    rehearsal.hangs = lambda who, which: (who, which) == (name, "new")
    began = rehearsal.options.fake_clock.now
    result = rehearsal.change()
    assert "did not get ready in time; the layout before is back" in result["error"]
    assert rehearsal.options.fake_clock.now - began > READY_WITHIN
    rehearsal.check_is_back()


def test_nginx_that_does_not_take_its_files_brings_the_old_ones_back(rehearsal: Rehearsal) -> None:
    rehearsal.ignored_reloads = 1
    assert rehearsal.change()["error"].startswith("nginx did not take its new files")
    rehearsal.check_is_back()
    assert rehearsal.pids["nginx"] == rehearsal.before["nginx"]


def test_nginx_that_takes_no_files_at_all_is_restarted(rehearsal: Rehearsal) -> None:
    rehearsal.ignored_reloads = 2
    assert rehearsal.change()["error"].startswith("nginx did not take its new files")
    rehearsal.check_is_back()
    assert rehearsal.pids["nginx"] != rehearsal.before["nginx"]


def test_files_that_are_gone_leave_everything_as_it_was(rehearsal: Rehearsal) -> None:
    changing = rehearsal.begin()
    (rehearsal.places.taken / "supervisord.conf").unlink()
    while changing.result is None:
        changing.advance()
        rehearsal.round()
    assert "No such file" in changing.result["error"]
    assert rehearsal.pids == rehearsal.before
    rehearsal.check_is_back()


def test_half_of_an_exchange_of_the_files_is_undone(rehearsal: Rehearsal) -> None:
    changing = rehearsal.begin()
    changing.advance()
    # They can be read still, and not be moved to their place.
    rehearsal.places.taken.rename(rehearsal.directory / "elsewhere")
    while changing.result is None:
        rehearsal.round()
        changing.advance()
    assert "No such file" in changing.result["error"]
    rehearsal.check_is_back()


def test_a_record_that_cannot_be_kept_undoes_the_whole_change(rehearsal: Rehearsal) -> None:
    changing = rehearsal.begin()
    rehearsal.places.claimed.unlink()
    while changing.result is None:
        changing.advance()
        rehearsal.round()
    assert "No such file" in changing.result["error"]
    rehearsal.check_is_back()


def test_a_process_that_dies_meanwhile_starts_with_the_list_in_force(rehearsal: Rehearsal) -> None:
    changing = rehearsal.begin()
    changing.advance()
    # Before its step: it may not come back between the end of the others and its own.
    end(rehearsal.programs["event_persister1"])
    while changing.result is None:
        rehearsal.round()
        changing.advance()
    assert "error" not in changing.result


def test_files_are_taken_whole_or_not_at_all(rehearsal: Rehearsal) -> None:
    places = rehearsal.places
    places.coming.rename(rehearsal.directory / "elsewhere")
    with pytest.raises(FileNotFoundError):
        places.take(keep=True)
    assert not places.claimed.exists()
    (rehearsal.directory / "elsewhere").rename(places.coming)
    with pytest.raises(FileNotFoundError):
        places.take(keep=True)
    assert places.coming.exists()


def test_a_later_command_does_not_change_what_has_been_taken(rehearsal: Rehearsal) -> None:
    changing = rehearsal.begin()
    write(rehearsal.places.coming, OLD, "later")
    rehearsal.places.staged.write_text("later")
    while changing.result is None:
        changing.advance()
        rehearsal.round()
    assert rehearsal.places.record.read_text() == "new"
    assert (rehearsal.places.conf / "lists").read_text() == "new"
    assert rehearsal.places.staged.exists()


def test_other_commands_are_refused_meanwhile(rehearsal: Rehearsal) -> None:
    alone = rehearsal.daemon.changes._alone(lambda _programs, _request: dict)
    assert alone([], {})() == {}
    rehearsal.daemon.changes.current = rehearsal.begin()
    assert alone([], {})() == {"error": "the layout is being changed; wait until that has ended"}


def test_what_stands_against_a_change(rehearsal: Rehearsal) -> None:
    programs, conf = rehearsal.programs, rehearsal.places.conf
    assert obstacle(programs, conf) == ""
    (rehearsal.directory / "operator.yaml").write_text("modules: []")
    assert obstacle(programs, conf) == (
        f"{rehearsal.directory}/operator.yaml has changed since main started;"
        " run `ganglion restart --all` first"
    )
    (rehearsal.directory / "operator.yaml").write_text("{}")
    (conf / "lists").write_text("of an earlier change")
    assert obstacle(programs, conf) == ""
    end(programs["synchrotron1"])
    assert obstacle(programs, conf) == "synchrotron1 not ready now"
