"""The order of a start: from a plan to running processes."""

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ganglion import __version__
from ganglion.budget.connections import ServerConnections
from ganglion.data import certificate, identity, mode_of_data
from ganglion.data.backup import restoring, schedule
from ganglion.data.backup.contents import Contents
from ganglion.data.certificate_watch import Watches, watched_by
from ganglion.data.directories import make_directories
from ganglion.data.lock import locked
from ganglion.data.ownership import take_over
from ganglion.data.run_directory import claimed
from ganglion.data.secrets import keep_secrets, kept_text
from ganglion.data.usable_files import usable
from ganglion.errors import ConfigError, Problem
from ganglion.files import disk
from ganglion.files.file import PUBLIC, SECRET
from ganglion.files.write import write_directory, write_file
from ganglion.logs.redact import OWN
from ganglion.machine.installed import Machine, postgres_programs
from ganglion.machine.nss_wrapper import accounts_file, groups_file
from ganglion.machine.privileges import no_new_privileges
from ganglion.plan import render
from ganglion.programs import peers, redis
from ganglion.programs.postgres import cluster, test_mark, upgrade
from ganglion.programs.postgres.client import Client, newest_programs, of_server
from ganglion.programs.program import Plan
from ganglion.programs.registry import share_out
from ganglion.programs.synapse import schema
from ganglion.programs.synapse.service import traces
from ganglion.settings.secrets import Secrets, values_of
from ganglion.settings.variables import Settings
from ganglion.supervisor import command_socket
from ganglion.supervisor.background import in_background
from ganglion.supervisor.daemon import supervise
from ganglion.supervisor.errand import Errand
from ganglion.supervisor.fork.preload import preload
from ganglion.supervisor.helper import Helper
from ganglion.supervisor.output import Output
from ganglion.supervisor.start_times import Timeline

Say = Callable[[str], None]

# In seconds. An upgrade of PostgreSQL leaves the old cluster until the new one has served so long.
SERVED = 600.0
DAY = 86400.0


def start(
    plan: Plan, say: Say, timeline: Timeline, output: Output, *, forget_applied: bool = False
) -> int:
    """Prepare everything that `plan` needs, its secrets first, and run it.

    `forget_applied` says that the layout of `ganglion apply` is out of force.

    Returns the exit status. Raises ConfigError before anything is started.
    """
    # Whatever cannot be rendered fails here, before anything is written.
    render(plan)
    settings, machine = plan.settings, plan.machine
    # Files that are replaced from now on are noticed, however long other servers are waited for.
    watches = watched_by(settings, plan.topology, machine.account("synapse"))
    schedule.check(settings)
    certificate.check(settings, dt.datetime.now(dt.UTC))
    certificate.check_replication(settings, plan.topology, dt.datetime.now(dt.UTC))
    # Once more when the data directory is locked: here it is not even locked for another server.
    identity.check(settings, plan.operator, identity.read(settings.paths))
    no_new_privileges()
    with (
        locked(settings.paths, machine) as data,
        claimed(settings.paths) as run,
        contextlib.ExitStack() as closing,
    ):
        restoring.refuse(settings.paths)
        if machine.nss_wrapper is not None:
            write_file(Path(settings.paths.accounts), accounts_file(), PUBLIC, None, lasting=False)
            write_file(Path(settings.paths.groups), groups_file(), PUBLIC, None, lasting=False)
        if forget_applied:
            Path(settings.paths.applied_workers).unlink(missing_ok=True)
        if settings.embedded_postgres:
            upgrade.clear(settings, machine)
        record = _identify(plan)
        plan = _await_external(plan, say, record)
        helpers = tuple(_helpers(plan, say, closing, watches))
        durable = None
        secrets = keep_secrets(settings, plan.operator)
        for known in (output.secrets, OWN):
            known.add(values_of(secrets, plan.operator.options))
        make_directories(settings, machine)
        take_over(settings, plan.operator, machine, say)
        account = machine.account("synapse")
        plan = replace(plan, operator=usable(plan.operator, account, say, make=True))
        certificate.ensure(settings, plan.operator, say)
        if settings.embedded_postgres:
            _record_test_mode(plan, record)
            is_new = not Path(settings.paths.postgres_version).exists()
            if not is_new:
                machine = upgrade.upgrade(settings, machine, say)
                plan = replace(plan, machine=machine)
                helpers += tuple(_removal(plan, closing))
            _prepare_cluster(settings, machine, secrets, say, tracing=traces(plan.operator))
            if is_new and not settings.test_mode:
                durable = disk.flushing(Path(settings.paths.postgres))
        _record(plan, record)
        timeline.mark("data")
        files = render(replace(plan, secrets=secrets))
        write_directory(Path(settings.paths.conf), files, dict(machine.accounts))
        helpers += tuple(_peers(settings, closing))
        timeline.mark("render")
        return supervise(
            settings.paths.supervisord_conf,
            settings.paths.notify_socket,
            timeline,
            prefork=settings.prefork and bool(plan.topology.here),
            account=account,
            command_socket=command_socket.path(settings),
            states_socket=settings.paths.states_socket,
            log_socket=settings.paths.log_socket,
            controls=settings.test_mode,
            locks=(data, run),
            output=output,
            watchdog=settings.watchdog,
            helpers=helpers,
            durable=durable,
            applied=settings.paths.applied_workers,
        )


def _helpers(
    plan: Plan, say: Say, closing: contextlib.ExitStack, watches: Watches
) -> Iterator[Helper]:
    """Start the processes for work that may block; `closing` ends them."""
    settings = plan.settings
    if settings.external_postgres and settings.database_lock:
        from ganglion.programs.postgres import database_lock, external  # noqa: PLC0415

        arguments, limit = external.arguments(settings), settings.external_wait
        part = database_lock.claims(plan.topology) if settings.partial else None
        lock = Helper(
            "database's lock", lambda tell: database_lock.hold(arguments, limit, tell, part=part)
        )
        closing.callback(lock.close)
        while (line := lock.first_line()).startswith("log "):
            say(line.removeprefix("log "))
        if line != database_lock.HELD:
            raise database_lock.refused(settings, line.removeprefix("stop "))
        yield lock
    for name, watched, before in watches:
        watch = Helper(name, partial(watched.watch, before=before))
        closing.callback(watch.close)
        yield watch
    if makes_backups(plan):
        job = _backups(plan)
        backups = Errand(
            "scheduled backups",
            lambda tell: schedule.run(job, tell),
            wait=schedule.first_wait(job),
            longest=schedule.longest(settings),
            retry=schedule.retry(settings),
            failed=lambda text: schedule.failed(settings, text),
        )
        closing.callback(backups.close)
        yield backups


def makes_backups(plan: Plan) -> bool:
    """Return whether this container makes the scheduled backups: of several, the one with main."""
    return plan.settings.backup_directory is not None and plan.topology.main.here


def _peers(settings: Settings, closing: contextlib.ExitStack) -> Iterator[Helper]:
    """Write nginx's upstreams in other containers, and start the process that looks at them."""
    if not settings.partial or not settings.runs_nginx:
        return
    text = Path(settings.paths.conf_file(peers.CONF)).read_text(encoding="utf-8")
    found = peers.Peers(peers.hosts(text))
    peers.write(settings, found)
    helper = Helper("hosts of other containers", lambda tell: peers.watch(settings, found, tell))
    closing.callback(helper.close)
    yield helper


def _removal(plan: Plan, closing: contextlib.ExitStack) -> Iterator[Helper]:
    """Start the process that removes clusters of earlier versions once the new one has served."""
    settings, topology = plan.settings, plan.topology
    if settings.postgres_upgrade == upgrade.KEEP or not upgrade.kept(settings.paths):
        return

    def work(tell: Callable[[str], None]) -> None:
        # It imports the clients of PostgreSQL and Redis.
        from ganglion.control.health import readiness  # noqa: PLC0415

        def is_ready() -> bool:
            return not any(item.problem for item in readiness(settings, topology))

        upgrade.remove_kept(settings.paths, is_ready, SERVED, tell)
        # Another one would be started after its end.
        while True:
            time.sleep(DAY)

    helper = Helper("removal of the old database", work)
    closing.callback(helper.close)
    yield helper


def _backups(plan: Plan) -> schedule.Job:
    """Return the job of scheduled backups."""
    settings, machine = plan.settings, plan.machine
    account = machine.account("synapse")
    newest = newest_programs()
    if newest is None and not settings.embedded_postgres:
        hint = "apt-get install postgresql-client"
        message = "needs pg_dump, which is not installed"
        raise ConfigError(
            [Problem(variable="GANGLION_BACKUP", value=None, message=message, hint=hint)]
        )

    def client() -> Client:
        # The cluster may be upgraded before the first backup.
        cluster = Path(settings.paths.postgres)
        found = postgres_programs(cluster) if settings.embedded_postgres else newest
        return of_server(settings, found or "", account)

    contents = Contents(
        settings=settings,
        operator=plan.operator,
        account=account,
        remote_media=False,
        # A note on each file at each backup would fill the log.
        note=lambda _: None,
    )
    return schedule.Job(
        contents=contents,
        server_name=identity.server_name(settings, plan.operator),
        client=client,
    )


def _identify(plan: Plan) -> identity.Record | None:
    """Return the record of the server that the data directory belongs to, if it has one.

    Raises ConfigError where this plan is of another server, or of one that has lost its key or its
    database.
    """
    settings, operator = plan.settings, plan.operator
    record = identity.read(settings.paths)
    identity.check(settings, operator, record)
    place = Path(settings.paths.postgres)
    if record is None and settings.embedded_postgres and place.exists():
        # Of an older Ganglion, or of a start that was cut off before it wrote the record.
        found = cluster.database_in(place, settings, plan.machine)
        if found is not None:
            name, role = found
            record = identity.Record(
                server_name=identity.server_name(settings, operator),
                database=identity.Database(kind="embedded", name=name, role=role),
            )
            identity.check(settings, operator, record)
    if settings.embedded_postgres and place.exists():
        _check_schema(plan, record)
    return record


def _check_schema(plan: Plan, record: identity.Record | None) -> None:
    """Raise ConfigError if the database needs a newer Synapse. Main would find it after its start.

    The cluster is asked only if another Synapse used it last.
    """
    settings, machine = plan.settings, plan.machine
    before = None if record is None else record.versions.get("synapse")
    if before == version("matrix-synapse"):
        return
    place, name = Path(settings.paths.postgres), settings.postgres_db
    if not cluster.values(place, settings, machine, schema.TABLE, name):
        return
    for needed in cluster.values(place, settings, machine, schema.NEEDED, name):
        problems = list(schema.refused(int(needed), f"the database in {place}", before))
        if problems:
            raise ConfigError(problems)


def _record_test_mode(plan: Plan, before: identity.Record | None) -> None:
    """Record test mode before its first database is made.

    A start that is cut off between the two would leave data that pass for a production server's.
    """
    settings = plan.settings
    if settings.test_mode and before is None:
        name = identity.server_name(settings, plan.operator)
        identity.keep(settings.paths, identity.Record(server_name=name, test_mode=True))


def _record(plan: Plan, before: identity.Record | None) -> None:
    """Write the record of this start, once its database is there."""
    settings, machine = plan.settings, plan.machine
    versions = {"ganglion": __version__, "synapse": version("matrix-synapse")}
    versions["schema"] = str(schema.compatible())
    if settings.embedded_postgres:
        versions["postgresql"] = str(machine.postgres_version)
    record = identity.current(settings, plan.operator, versions, plan.topology.text)
    if record.signing_key is None and before is not None:
        # It cannot be read at the moment, or Synapse is about to make it.
        record = replace(record, signing_key=before.signing_key)
    identity.keep(settings.paths, record)


def _await_external(plan: Plan, say: Say, record: identity.Record | None) -> Plan:
    """Wait for the servers that are not embedded. Returns the plan as it fits them.

    `record` is that of the data directory. Raises ConfigError where a server does not answer, or
    cannot be used.
    """
    settings = plan.settings
    if settings.external_postgres:
        # psycopg2 is imported only where it is used here.
        from ganglion.programs.postgres import external  # noqa: PLC0415

        any_locale = plan.operator.any_locale
        server = external.await_postgres(
            settings,
            say,
            any_locale=any_locale,
            instead_of=identity.moved_from(settings, record),
            mode=mode_of(plan, record),
            synapse=None if record is None else record.versions.get("synapse"),
        )
        plan = _fitted(plan, server, say)
        if plan.topology.here and not plan.topology.main.here:
            external.await_schema(settings, say)
    if settings.uses_stores and not settings.embedded_redis:
        redis.await_external(settings, say)
    return plan


def mode_of(plan: Plan, record: identity.Record | None) -> test_mark.Mode:
    """How the external database has to be marked."""
    settings = plan.settings
    name = identity.server_name(settings, plan.operator)
    ours = record is not None and record.database == identity.database_of(settings)
    return test_mark.Mode(
        test=settings.test_mode,
        known=ours and record is not None and record.test_mode is True,
        switched=settings.switch_test_mode == name,
        refusal=mode_of_data.other_mode(
            settings,
            name,
            f"the data in {settings.postgres_db} at {settings.postgres_host}",
        ),
    )


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


def _prepare_cluster(
    settings: Settings, machine: Machine, secrets: Secrets, say: Say, *, tracing: bool
) -> None:
    """Make the cluster if there is none, and give its role the password in force.

    Synapse is imported meanwhile.
    """
    # The password that the role has now. A variable may give another one at this start.
    in_force = Path(settings.paths.password_in_force)
    if not Path(settings.paths.postgres_version).exists():
        say("making the database")
        work = cluster.make_cluster
    elif in_force.exists() and kept_text(in_force) == secrets.postgres_password:
        return
    else:
        work = cluster.set_password
    place = Path(settings.paths.postgres)
    with in_background(lambda: work(place, settings, machine, secrets.postgres_password)):
        if settings.prefork:
            preload(tracing=tracing)
    write_file(in_force, f"{secrets.postgres_password}\n", SECRET, None)
