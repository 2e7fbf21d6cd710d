"""The golden cases: directories with an environment and the expected files or error.

    NAME/env        NAME=value lines; an indented line continues the value above. The defaults of
                    memory and processors are LIMITS
    NAME/machine    `ipv6=no` or `accounts=none`, if the machine is not a typical one
    NAME/files/     the operator's files, which the environment calls /CASE
    NAME/expected/  LIST, which names every rendered file with its mode and its program, and the
                    files that the case is about; NOTES, what `check` says of the operator's files
    NAME/error      instead of `expected`: the output on stderr

`pytest tests/golden --update-golden` writes today's results: all files of a new case, and of the
others only the files that exist. Delete the files that a new case is not about. Read the diff.
"""

import os
import pwd
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from ganglion.files.file import File
from ganglion.files.write import write_directory
from ganglion.machine.installed import Machine, nginx_version
from ganglion.plan import build_topology, file_notes, render
from ganglion.programs.program import Plan
from ganglion.programs.registry import TYPICAL, share_out
from ganglion.routing import operator_routes
from ganglion.settings import adoption, operator_files
from ganglion.settings.environment import from_environ
from ganglion.settings.variables import Settings
from ganglion.topology import topology
from tests.certificates import Authority
from tests.plans import secrets_of

HERE = Path(__file__).parent
PLACE = "/CASE"
# The limits of the machine, unless a case sets others: results must not depend on the real machine.
LIMITS = {"GANGLION_MEMORY": "4G", "GANGLION_CPUS": "2"}
LIST = "LIST"
NOTES = "NOTES"
# A valid key of no real server.
SIGNING_KEY = "ed25519 a_test " + "A" * 43


def assignments(path: Path) -> dict[str, str]:
    """Read the NAME=value lines of a file."""
    found: dict[str, str] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith(" "):
            found[name] += f"\n{line.strip()}"
        else:
            name, _, found[name] = line.partition("=")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case. `place` is a copy of its files for this run, with a path that varies."""

    directory: Path
    place: Path

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def expected(self) -> Path:
        return self.directory / "expected"

    @property
    def error(self) -> Path:
        return self.directory / "error"

    def prepare(self) -> None:
        """Copy its files to its place."""
        if (self.directory / "files").is_dir():
            shutil.copytree(self.directory / "files", self.place, dirs_exist_ok=True)

    @property
    def environ(self) -> dict[str, str]:
        found = LIMITS | assignments(self.directory / "env")
        return {name: text.replace(PLACE, str(self.place)) for name, text in found.items()}

    @property
    def machine(self) -> Machine:
        path = self.directory / "machine"
        facts = assignments(path) if path.is_file() else {}
        assert facts.items() <= {"ipv6": "no", "accounts": "none"}.items()
        machine = replace(TYPICAL, ipv6="ipv6" not in facts)
        if "accounts" in facts:
            return replace(machine, accounts=(), ourselves="alice")
        return machine

    def settings(self) -> Settings:
        chosen = from_environ(
            self.environ, lambda path: Path(path).read_text(encoding="utf-8"), os.path.exists
        )
        return adoption.adopt(chosen, operator_files.load(chosen))

    def plan(self, settings: Settings | None = None) -> Plan:
        """Make the plan of the case, or of other settings."""
        chosen = settings or self.settings()
        layout = build_topology(chosen, self.machine)
        return Plan(
            settings=chosen,
            topology=layout,
            budget=share_out(chosen, layout, self.machine),
            machine=self.machine,
            operator=operator_files.load(chosen),
            routes=operator_routes.load(chosen, layout),
            secrets=secrets_of(chosen),
        )

    def rendered(self) -> dict[str, File]:
        """Return every file by its path."""
        return {file.path: file for file in render(self.plan())}

    def made(self, directory: Path, authority: Authority, *, nginx: str | None = None) -> Plan:
        """Write the case below a directory, with every path in it and our own account for all.

        The path of the directory must be short, for the sockets. `nginx` is the program that will
        read the files; without one they are for the image's.
        """
        run, data = directory / "run", directory / "data"
        settings = replace(self.settings(), run=str(run), data=str(data))
        if settings.tls:
            certificate, key = authority.issue(directory)
            settings = replace(settings, tls_cert=str(certificate), tls_key=str(key))
        plan = self.plan()
        us = pwd.getpwuid(os.geteuid()).pw_name
        http2_directive = nginx is None or nginx_version(nginx) >= (1, 25, 1)
        accounts = tuple((program, us) for program, _ in plan.machine.accounts)
        made = replace(
            plan,
            settings=settings,
            topology=topology.build(settings, plan.topology.text),
            machine=replace(plan.machine, accounts=accounts, http2_directive=http2_directive),
            secrets=replace(plan.secrets, signing_key=SIGNING_KEY),
        )
        for path in (run / "sockets", run / "nginx", data):
            path.mkdir(parents=True)
        write_directory(run / "conf", render(made), {})
        return made

    def shown(self, text: str) -> str:
        """Replace the path of this run in a text."""
        return text.replace(str(self.place), PLACE)

    def kept(self, files: dict[str, File]) -> dict[str, str]:
        """Return the expected content by path: every rendered file, the list and the notes."""
        lines = (f"{file.mode:o} {file.program or '-'} {file.path}\n" for file in files.values())
        notes = "".join(f"{note}\n" for note in file_notes(self.plan()))
        return {LIST: "".join(lines), NOTES: self.shown(notes)} | {
            path: self.shown(file.content) for path, file in files.items()
        }


def names() -> list[str]:
    """Return the name of every case."""
    return sorted(path.parent.name for path in HERE.glob("*/env"))


def good() -> list[str]:
    """Return the names of cases with files."""
    return [name for name in names() if not (HERE / name / "error").is_file()]


def bad() -> list[str]:
    """Return the names of cases with an error."""
    return [name for name in names() if (HERE / name / "error").is_file()]
