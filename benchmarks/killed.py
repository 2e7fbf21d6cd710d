"""Verbs that are killed at random moments: what they leave, and whether the next one works.

Each verb is run once to its end, and then killed (SIGKILL) after a random part of that time, again
and again. Ten seconds later none of the processes that it has started may be left. The next run of
the verb must work, and leave what an undisturbed one leaves.
"""

import argparse
import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import results
from benchmarks.faults import Client
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from tests.harness import GANGLION, Server
from tests.processes import descendants, identity

# linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
# In seconds: how long a process may go on without the one that started it.
END_WITHIN = 10.0
LAYOUT = "client_reader"
FURTHER = "client_reader:2"
NOTE = (
    "Each verb works on a server of {workers}. It is killed (SIGKILL, itself alone) after a random "
    "part of the time that an undisturbed one took. Counted are processes that are there "
    "{within:.0f} s later, next runs that do not work, and files that are left in the directory of "
    "temporary files or the data directory after that next run. The moments come from the random "
    "seed {seed}."
)


@dataclass(slots=True)
class Place:
    """A running server with a user and a message, and a directory beside it for what verbs make."""

    server: Server
    client: Client
    backup: Path = field(init=False)
    sqlite: Path = field(init=False)

    def __post_init__(self) -> None:
        self.backup = self.server.root / "whole.tar"
        self.sqlite = self.server.root / "homeserver.db"

    @property
    def temporary(self) -> Path:
        return self.server.root / "tmp"

    def fresh(self, name: str) -> Path:
        """Return an empty directory of this name."""
        path = self.server.root / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def run(self, words: Sequence[str], data: Path | None) -> subprocess.Popen[str]:
        """Start a verb, for this server's data or for other ones."""
        environment = {**self.server.environment, "TMPDIR": str(self.temporary)}
        if data is not None:
            environment["GANGLION_DATA"] = str(data)
        return subprocess.Popen(
            [*GANGLION, *words],
            env=environment,
            cwd=self.server.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def must(self, words: Sequence[str], data: Path | None) -> None:
        """Run a verb to its end. Raises AssertionError if it fails."""
        process = self.run(words, data)
        said, _ = process.communicate()
        assert process.returncode == 0, f"{' '.join(words)}: {said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A verb. `begin` makes the place for it and returns its words and its data directory.

    `end` looks at the result of the run that worked. Raises AssertionError.
    """

    begin: Callable[[Place], tuple[Sequence[str], Path | None]]
    end: Callable[[Place], None]


def _backup(place: Place) -> tuple[Sequence[str], Path | None]:
    (place.server.root / "made.tar").unlink(missing_ok=True)
    return ("backup", str(place.server.root / "made.tar")), None


def _whole_backup(place: Place) -> None:
    place.must(("backup", "--verify", str(place.server.root / "made.tar")), None)
    left = sorted(path.name for path in place.server.root.glob("*.part"))
    assert not left, f"left beside the backup: {left}"


def _rehearse(place: Place) -> tuple[Sequence[str], Path | None]:
    return ("backup", "--rehearse", str(place.backup)), None


def _restore(place: Place) -> tuple[Sequence[str], Path | None]:
    return ("restore", str(place.backup)), place.fresh("restored")


def _import(place: Place) -> tuple[Sequence[str], Path | None]:
    return ("import", "--from-sqlite", str(place.sqlite)), place.fresh("imported")


def _whole_data(name: str, place: Place) -> None:
    entries = {path.name for path in (place.server.root / name).iterdir()}
    assert "postgres" in entries, f"no database in {entries}"
    left = sorted(entry for entry in entries if entry.startswith(".") and entry != ".lock")
    assert not left, f"left in the data directory: {left}"


def _apply(place: Place) -> tuple[Sequence[str], Path | None]:
    place.must(("apply", "--reset"), None)
    return ("apply", FURTHER), None


def _applied(place: Place) -> None:
    ready = {row["name"] for row in place.server.status() if row["state"] == "RUNNING"}
    assert "client_reader2" in ready, f"running: {ready}"


def _restart(_place: Place) -> tuple[Sequence[str], Path | None]:
    return ("restart", "--all"), None


def _serves(place: Place) -> None:
    place.client.begin()
    # nginx has closed it meanwhile, as one that nobody used.
    if place.client.connection is not None:
        place.client.connection.close()
    place.client.ask_once()
    assert place.client.failed == 0, "a message was not sent"


CASES = {
    "backup": Case(begin=_backup, end=_whole_backup),
    "backup --rehearse": Case(begin=_rehearse, end=lambda _: None),
    "restore": Case(begin=_restore, end=partial(_whole_data, "restored")),
    "import --from-sqlite": Case(begin=_import, end=partial(_whole_data, "imported")),
    "apply": Case(begin=_apply, end=_applied),
    "restart --all": Case(begin=_restart, end=_serves),
}


@contextlib.contextmanager
def prepared(workers: str, cases: Sequence[str]) -> Iterator[Place]:
    """Start a server for the cases, with what they need."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with Server(workers) as server:
        server.start()
        client = Client(server.base_url, writes=True)
        client.register()
        place = Place(server, client)
        place.temporary.mkdir()
        place.temporary.chmod(0o1777)
        if {"backup --rehearse", "restore"} & set(cases):
            place.must(("backup", str(place.backup)), None)
        if "import --from-sqlite" in cases:
            _make_sqlite(place)
        try:
            yield place
        finally:
            if client.connection is not None:
                client.connection.close()
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _make_sqlite(place: Place) -> None:
    variables = {"GANGLION_TEST_MODE": "yes", "SYNAPSE_COMPLEMENT_DATABASE": "sqlite"}
    with Server("none", variables) as other:
        other.start()
        other.stop()
        (found,) = other.data.rglob("homeserver.db")
        shutil.copy(found, place.sqlite)


def duration(place: Place, name: str) -> float:
    """Run a verb undisturbed. Returns its seconds. Raises AssertionError if it does not work."""
    case = CASES[name]
    words, data = case.begin(place)
    began = time.monotonic()
    place.must(words, data)
    took = time.monotonic() - began
    case.end(place)
    return took


def kill(place: Place, name: str, moment: float, within: float = END_WITHIN) -> dict[str, str]:
    """Kill a verb after `moment` seconds, and run it again. Returns the faults by their kind.

    Its processes have `within` seconds to end.
    """
    case = CASES[name]
    faults: dict[str, str] = {}
    words, data = case.begin(place)
    before = descendants(os.getpid())
    process = place.run(words, data)
    time.sleep(moment)
    process.kill()
    _drained(process)
    left = _left(before, place.server, within)
    if left:
        faults["processes left"] = f"{left}"
    try:
        place.must(words, data)
        case.end(place)
    except AssertionError as error:
        faults["next run fails"] = f"{error}"
    files = sorted(path.name for path in place.temporary.iterdir())
    if files:
        faults["files left"] = f"{files}"
    return faults


def _drained(process: "subprocess.Popen[str]") -> None:
    """Wait for the verb itself. Its children may keep its output open."""
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _left(before: dict[int, str], server: Server, within: float) -> list[str]:
    """Return the processes that a killed verb has left, and end them."""
    assert server.process is not None
    deadline = time.monotonic() + within
    while True:
        own = descendants(server.process.pid)
        found = {
            pid: name
            for pid, name in descendants(os.getpid()).items()
            if pid not in own and before.get(pid) != name and pid != server.process.pid
        }
        _reap(found)
        if not found or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    titles = []
    for pid, name in found.items():
        with contextlib.suppress(OSError):
            title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            if identity(pid) == name:
                titles.append(title.decode(errors="replace").strip()[:120])
                os.kill(pid, signal.SIGKILL)
    return titles


def _reap(adopted: dict[int, str]) -> None:
    """Take the status of processes whose parents are dead, and that have ended."""
    for pid in adopted:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench killed", description=__doc__)
    parser.add_argument("--workers", default=LAYOUT, help=f"the layout ({LAYOUT})")
    parser.add_argument("--moments", type=int, default=10, help="how often for each verb (10)")
    parser.add_argument("--verb", action="append", choices=CASES, help="only this one; repeatable")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10_000, help="for repetition")
    results.add_arguments(parser, rounds=1)
    options = parser.parse_args(words)
    session = Session("killed", options, words, [])
    table = session.add(Table(title="Killed verbs", unit="number", ratios=False, plotted=False))
    chance = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    chosen = options.verb or list(CASES)
    with prepared(options.workers, chosen) as place:
        for name in chosen:
            longest = duration(place, name)
            for _ in range(options.moments):
                moment = chance.uniform(0, longest)
                faults = kill(place, name, moment)
                for kind, text in faults.items():
                    print(f"{name} killed after {moment:.2f} of {longest:.2f} s: {kind}: {text}")
                table.add(name, "killed", 1)
                for kind in ("processes left", "next run fails", "files left"):
                    table.add(name, kind, kind in faults)
    table.add_up()
    note = NOTE.format(workers=options.workers, within=END_WITHIN, seed=options.seed)
    deliver(session.result("Verbs that are killed", note), options)
    return 0
