"""Check the configuration and print the processes.

Reads the variables and the operator's files, as a start would. Prints every
process with its roles, its address, the streams that it writes and the jobs
that only it does. Notes go to standard error. No server is started, and nothing
is left behind: nginx, if it is installed, judges a temporary copy of its files.

Exit status: 0 if the configuration works, else 2 with all problems.
"""

import contextlib
import datetime as dt
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganglion.cli.output import columns, print_json, print_notes
from ganglion.cli.verb import Verb
from ganglion.data import certificate, identity
from ganglion.data.backup import restoring, schedule
from ganglion.data.usable_files import usable
from ganglion.errors import ConfigError, Problem
from ganglion.machine import installed, postgres_versions
from ganglion.plan import assemble, notes_on, render
from ganglion.programs import nginx_trial, registry
from ganglion.programs.program import Plan
from ganglion.programs.synapse import schema
from ganglion.settings import test_mode
from ganglion.topology.topology import Process, Topology


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    plan = assemble(environ)
    # Rendering reports problems that no stage before it sees.
    render(plan)
    _try_files(plan)
    if options.json:
        print_json(as_json(plan.topology))
    else:
        print(as_table(plan.topology))
    print_notes([*test_mode.warnings(plan.settings), *notes_on(plan, environ)])
    return 0


def _try_files(plan: Plan) -> None:
    """Try the files that the configuration names. Raises ConfigError with all problems."""
    problems: list[Problem] = []
    try:
        restoring.refuse(plan.settings.paths)
        schedule.check(plan.settings)
    except ConfigError as error:
        problems.extend(error.problems)
    try:
        certificate.check(plan.settings, dt.datetime.now(dt.UTC))
    except ConfigError as error:
        problems.extend(error.problems)
    try:
        certificate.check_replication(plan.settings, plan.topology, dt.datetime.now(dt.UTC))
    except ConfigError as error:
        problems.extend(error.problems)
    try:
        identity.check(plan.settings, plan.operator, identity.read(plan.settings.paths))
    except ConfigError as error:
        problems.extend(error.problems)
    if plan.settings.embedded_postgres:
        cluster = Path(plan.settings.paths.postgres)
        problems.extend(postgres_versions.problems(cluster, postgres_versions.installed()))
    problems.extend(_schema(plan))
    try:
        # Nothing can be tried for an account that does not exist here; `run` reports that.
        with contextlib.suppress(KeyError):
            account = registry.account_here("synapse", plan.settings)
            usable(plan.operator, account, lambda line: print_notes([line]), make=False)
    except ConfigError as error:
        problems.extend(error.problems)
    nginx = installed.program("nginx")
    if nginx is not None:
        problems.extend(nginx_trial.problems(plan, nginx))
    if problems:
        raise ConfigError(problems)


def _schema(plan: Plan) -> Iterator[Problem]:
    """A Synapse that is older than the data, as far as their record says. A start asks them."""
    try:
        record = identity.read(plan.settings.paths)
    except ConfigError:
        # It is reported with the other problems.
        return
    if record is not None and record.versions.get("schema", "").isdigit():
        needed, made_by = int(record.versions["schema"]), record.versions.get("synapse")
        yield from schema.refused(needed, f"the data in {plan.settings.data}", made_by)


def as_table(topology: Topology) -> str:
    """Format every process with its roles, address, streams and jobs."""
    rows = [
        (
            process.name if process.here else f"{process.name} (elsewhere)",
            ", ".join(process.roles) or "-",
            str(process.http),
            ", ".join(_streams(topology, process)) or "-",
            ", ".join(_jobs(topology, process)) or "-",
        )
        for process in topology.processes
    ]
    return columns(("PROCESS", "ROLES", "ADDRESS", "WRITES", "JOBS"), rows)


def as_json(topology: Topology) -> dict[str, Any]:
    """Return the same as values for JSON, with the topology's notes."""
    processes = [
        {
            "name": process.name,
            "roles": list(process.roles),
            "address": str(process.http),
            "streams": _streams(topology, process),
            "jobs": _jobs(topology, process),
        }
        for process in topology.processes
    ]
    return {"processes": processes, "notes": list(topology.notes)}


def _streams(topology: Topology, process: Process) -> list[str]:
    return [stream for stream, names in topology.stream_writers.items() if process.name in names]


def _jobs(topology: Topology, process: Process) -> list[str]:
    return [job for job, names in topology.jobs.items() if process.name in names]


VERB = Verb(name="check", manual=__doc__, run=run, json=True)
