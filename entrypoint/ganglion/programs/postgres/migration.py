"""PostgreSQL's own programs that make a cluster of a newer version out of another one."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganglion.machine import children
from ganglion.machine.installed import Machine
from ganglion.machine.nss_wrapper import environment
from ganglion.programs.postgres.cluster import values
from ganglion.settings.variables import Settings

# In characters: the end of what a program says, as an error shows it.
SHOWN = 1500
# pg_upgrade puts paths between quotes for a shell.
PLAIN = re.compile(r"[\w./+:@%=-]+")
# The version whose initdb makes checksums by default.
CHECKSUMS_BY_DEFAULT = 18
MOST_JOBS = 4
# The role that initdb made: pg_upgrade wants the same in the new cluster. An expression, because
# single-user mode can print a plain column under the name that it has in the table.
OWNER = "SELECT rolname || '' AS value FROM pg_roles WHERE oid = 10"
DATABASES = "SELECT datname || '' AS value FROM pg_database WHERE datallowconn"
# How many relations of users, and how many bytes. pg_upgrade passes over relations that were made
# in single-user mode right after initdb, because their OIDs are those of system tables: it leaves
# them empty, and reports success.
RELATIONS = (
    "SELECT count(*) || ' ' || coalesce(sum(pg_relation_size(c.oid)"
    " + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)), 0) AS value"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
)


class Failed(Exception):
    """The cluster cannot be upgraded. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """From the cluster `old` to the empty directory `new`.

    `work` and `sockets` are empty directories of PostgreSQL's account; `sockets` has a pg_hba.conf
    that lets everybody in, as only this account may enter.
    """

    old: Path
    new: Path
    work: Path
    sockets: Path
    old_programs: str
    new_programs: str
    new_version: int

    def run(self, settings: Settings, machine: Machine, *, clones: bool) -> None:
        """Make the new cluster. The old one is only read. Raises Failed and OSError.

        Afterwards the new one is on the disk, has statistics, and no server runs.
        """
        for path in (self.old, self.new, self.sockets):
            if PLAIN.fullmatch(str(path)) is None:
                raise Failed(f"pg_upgrade cannot use the path {path}")
        programs = _Programs(self.work, settings, machine)

        def ask(statement: str, database: str = "template1") -> list[str]:
            # In single-user mode, which also recovers a cluster whose server was killed.
            return values(self.old, settings, machine, statement, database)

        (role,) = ask(OWNER)
        before = {name: ask(RELATIONS, name) for name in ask(DATABASES)}
        if settings.postgres_db not in before:
            raise Failed(f"the cluster has no database {settings.postgres_db}")
        self._make(programs, role)
        self._copy(programs, role, clones=clones)
        self._keep_settings(programs)
        self._finish(programs, role, before)

    def _make(self, programs: "_Programs", role: str) -> None:
        """Run initdb, with the old cluster's form."""
        said = programs.run(self.old_programs, "pg_controldata", "-D", str(self.old))
        form = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        has_checksums = form["Data page checksum version"].strip() != "0"
        checksums = []
        if has_checksums:
            checksums = ["--data-checksums"]
        elif self.new_version >= CHECKSUMS_BY_DEFAULT:
            checksums = ["--no-data-checksums"]
        segment = int(form["Bytes per WAL segment"]) // 1024**2
        programs.run(
            self.new_programs,
            "initdb",
            *("-D", str(self.new), "-U", role, "--locale=C", "--encoding=UTF8", "--auth=peer"),
            *("--no-instructions", "--no-sync", f"--wal-segsize={segment}"),
            *checksums,
        )

    def _copy(self, programs: "_Programs", role: str, *, clones: bool) -> None:
        """Run pg_upgrade. It checks everything first, and syncs its copy to the disk."""
        options = self._options()
        programs.run(
            self.new_programs,
            "pg_upgrade",
            *("-b", self.old_programs, "-B", self.new_programs),
            *("-d", str(self.old), "-D", str(self.new)),
            *("-U", role, "-s", str(self.sockets), "-o", options, "-O", options),
            *(("--clone",) if clones else ()),
            details=self.new / "pg_upgrade_output.d",
        )

    def _options(self) -> str:
        return f"-c hba_file={self.sockets}/pg_hba.conf"

    def _keep_settings(self, programs: "_Programs") -> None:
        """Take over the settings of ALTER SYSTEM, unless the new version refuses them."""
        name = "postgresql.auto.conf"
        text = (self.old / name).read_text(encoding="utf-8", errors="replace")
        if all(not line.strip() or line.startswith("#") for line in text.splitlines()):
            return
        programs.run(self.new_programs, "cp", str(self.new / name), str(self.work))
        programs.run(self.new_programs, "cp", str(self.old / name), str(self.new))
        try:
            programs.run(self.new_programs, "postgres", "-D", str(self.new), "-C", "port")
        except Failed:
            programs.run(self.new_programs, "cp", str(self.work / name), str(self.new))

    def _finish(self, programs: "_Programs", role: str, before: Mapping[str, list[str]]) -> None:
        """Compare the new cluster with the old one, update extensions, gather statistics."""
        ctl = ("-D", str(self.new), "-w", "-t", "600", "-l", str(self.work / "log"))
        options = f"{self._options()} -c listen_addresses='' -k {self.sockets}"
        programs.run(self.new_programs, "pg_ctl", "start", *ctl, "-o", options)
        where = ("-h", str(self.sockets), "-U", role)
        for name, relations in before.items():
            # The name as a variable: libpq takes an argument with "=" for a connection string.
            said = programs.run(
                self.new_programs,
                *("psql", "-X", "-q", "-A", "-t", *where, "-d", "template1", "-v", f"name={name}"),
                *("-c", '\\connect :"name"', "-c", RELATIONS),
            )
            if said.strip().splitlines()[-1:] != relations:
                raise Failed(
                    f"the database {name} has {said.strip() or 'nothing'} in the new cluster and"
                    f" {' '.join(relations)} in the old one (tables and indexes, and their bytes)"
                )
        extensions = self.work / "update_extensions.sql"
        if extensions.exists():
            programs.run(
                self.new_programs,
                *("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where),
                *("-d", "template1", "-f", str(extensions)),
            )
        jobs = min(MOST_JOBS, len(os.sched_getaffinity(0)))
        programs.run(
            self.new_programs, "vacuumdb", *where, "--all", "--analyze-only", "-j", str(jobs)
        )
        programs.run(self.new_programs, "pg_ctl", "stop", "-D", str(self.new), "-w", "-t", "600")


class _Programs:
    """Runs programs as PostgreSQL's account, in `work`."""

    def __init__(self, work: Path, settings: Settings, machine: Machine) -> None:
        self._work = work
        self._account = machine.account("postgres")
        paths = settings.paths
        self._environment = dict(environment(machine.nss_wrapper, paths.accounts, paths.groups))

    def run(self, programs: str, name: str, *arguments: str, details: Path | None = None) -> str:
        """Run one of the `programs`, or one of the system's. Returns its output.

        Raises Failed with the end of what it said, and of the files in `details`.
        """
        path = Path(programs, name)
        # A file, not a pipe: servers that it starts inherit it.
        output = self._work.parent / "output"
        with output.open("w+", encoding="utf-8", errors="replace") as said:
            result = children.run(
                [str(path) if path.exists() else name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                account=self._account,
                cwd=self._work,
                env={"LC_ALL": "C", "PATH": f"{programs}:/usr/bin:/bin", **self._environment},
                # The servers that pg_upgrade leaves are ended by the next start, which needs them:
                # upgrade.py.
                locks=False,
            )
            said.seek(0)
            text = said.read()
        if result.returncode:
            files = sorted(details.rglob("*.txt")) if details is not None else []
            more = "".join(
                f"\n{file.name}:\n{file.read_text(encoding='utf-8', errors='replace')[-SHOWN:]}"
                for file in files
            )
            raise Failed(f"{name} failed:\n{text.strip()[-SHOWN:]}{more}")
        return text
