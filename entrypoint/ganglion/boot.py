"""The order of a start: from a plan to running processes."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ganglion.budget.connections import ServerConnections
from ganglion.data import certificate
from ganglion.data.directories import make_directories
from ganglion.data.identity import check_name
from ganglion.data.lock import locked
from ganglion.data.ownership import take_over
from ganglion.data.run_directory import claimed
from ganglion.data.secrets import keep_secrets
from ganglion.data.usable_files import usable
from ganglion.files.file import SECRET
from ganglion.files.write import write_directory, write_file
from ganglion.machine.installed import Machine
from ganglion.machine.privileges import no_new_privileges
from ganglion.plan import render
from ganglion.programs import redis
from ganglion.programs.postgres import cluster
from ganglion.programs.program import Plan
from ganglion.programs.registry import share_out
from ganglion.settings.secrets import Secrets
from ganglion.settings.variables import Settings
from ganglion.supervisor.background import in_background
from ganglion.supervisor.daemon import supervise
from ganglion.supervisor.fork.preload import preload
from ganglion.supervisor.start_times import Timeline

Say = Callable[[str], None]


def start(plan: Plan, say: Say, timeline: Timeline) -> int:
    """Prepare everything that `plan` needs, its secrets first, and run it.

    Returns the exit status. Raises ConfigError before anything is started.
    """
    # Whatever cannot be rendered fails here, before anything is written.
    render(plan)
    settings, machine = plan.settings, plan.machine
    certificate.check(settings, dt.datetime.now(dt.UTC))
    no_new_privileges()
    with locked(settings.paths, machine), claimed(settings.paths):
        check_name(settings, plan.operator)
        secrets = keep_secrets(settings, plan.operator)
        make_directories(settings, machine)
        take_over(settings, plan.operator, machine, say)
        account = machine.account("synapse")
        plan = replace(plan, operator=usable(plan.operator, account, say, make=True))
        certificate.ensure(settings, plan.operator, say)
        if settings.embedded_postgres:
            _prepare_cluster(settings, machine, secrets, say)
        plan = _await_external(plan, say)
        timeline.mark("data")
        files = render(replace(plan, secrets=secrets))
        write_directory(Path(settings.paths.conf), files, dict(machine.accounts))
        timeline.mark("render")
        return supervise(
            settings.paths.supervisord_conf,
            settings.paths.notify_socket,
            timeline,
            prefork=settings.prefork,
            account=account,
            command_socket=settings.paths.command_socket if settings.test_mode else None,
        )


def _await_external(plan: Plan, say: Say) -> Plan:
    """Wait for the servers that are not embedded. Returns the plan as it fits them.

    Raises ConfigError where one does not answer, or cannot be used.
    """
    settings = plan.settings
    if not settings.embedded_postgres and settings.sqlite is None:
        # psycopg2 is imported only where it is used here.
        from ganglion.programs.postgres import external  # noqa: PLC0415

        any_locale = plan.operator.any_locale
        plan = _fitted(plan, external.await_postgres(settings, say, any_locale=any_locale), say)
    if not settings.embedded_redis:
        redis.await_external(settings, say)
    return plan


def _fitted(plan: Plan, server: ServerConnections, say: Say) -> Plan:
    """The plan with pools that an external PostgreSQL server has the connections for.

    Raises ConfigError where it has fewer than the processes need.
    """
    budget = share_out(plan.settings, plan.topology, plan.machine, server)
    if budget.connections < plan.budget.connections:
        say(
            f"PostgreSQL has {server.free} connections for Synapse: the pools have"
            f" {budget.connections} together instead of {plan.budget.connections}"
        )
    return replace(plan, budget=budget)


def _prepare_cluster(settings: Settings, machine: Machine, secrets: Secrets, say: Say) -> None:
    """Make the cluster if there is none, and give its role the password in force.

    Synapse is imported meanwhile.
    """
    # The password that the role has now. A variable may give another one at this start.
    in_force = Path(settings.paths.password_in_force)
    if not Path(settings.paths.postgres_version).exists():
        say("making the database")
        work = cluster.make_cluster
    elif in_force.exists() and in_force.read_text().strip() == secrets.postgres_password:
        return
    else:
        work = cluster.set_password
    place = Path(settings.paths.postgres)
    with in_background(lambda: work(place, settings, machine, secrets.postgres_password)):
        if settings.prefork:
            preload()
    write_file(in_force, f"{secrets.postgres_password}\n", SECRET, None)
