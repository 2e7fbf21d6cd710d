"""Synapse's entry in the registry: main, then the workers, which wait for main's migrations."""

from ganglion.budget.amounts import Row
from ganglion.programs.program import Directory, Plan, Program, Service, notify
from ganglion.programs.stopping import stop_times
from ganglion.programs.synapse.options import config_paths, files
from ganglion.programs.synapse.request_id import REQUEST_ID_HEADER, request_id_header
from ganglion.settings.fix_names import ALL
from ganglion.settings.fixes import as_text
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import REQUESTS_AT_ONCE, Settings
from ganglion.topology.topology import Process

NAME = "synapse"


def _programs(plan: Plan, needs: tuple[str, ...]) -> tuple[Program, ...]:
    main = plan.topology.main
    # Elsewhere, main is waited for before anything starts here: boot.py.
    waits = (main.name,) if main.here else needs
    return tuple(
        _program(plan, process, needs if process.is_main else waits)
        for process in plan.topology.here
    )


def _program(plan: Plan, process: Process, needs: tuple[str, ...]) -> Program:
    settings, machine = plan.settings, plan.machine
    times = stop_times(settings.stop_timeout)
    app = "synapse.app.homeserver" if process.is_main else "synapse.app.generic_worker"
    paths = config_paths(settings, plan.operator, process)
    jemalloc = (("LD_PRELOAD", machine.jemalloc),) if machine.jemalloc else ()
    # Synapse checks only whether it is set.
    reactor = (("SYNAPSE_ASYNC_IO_REACTOR", "1"),) if settings.asyncio_reactor else ()
    # Authorities are looked up when a certificate is verified. Otherwise each process reads the
    # file of all of them twice at its start: 17 ms, and 3 MB that nobody shares.
    authorities = (("SSL_CERT_DIR", machine.authorities),) if machine.authorities else ()
    # Synapse then imports its tracer: ganglion.in_synapse.imports.
    tracing = (("GANGLION_TRACING", "1"),) if traces(plan.operator) else ()
    return Program(
        name=process.name,
        group="main" if process.is_main else "workers",
        priority=300 if process.is_main else 400,
        command=(
            machine.python,
            "-m",
            app,
            *(word for path in paths for word in ("--config-path", path)),
        ),
        account=machine.account(NAME),
        needs=needs,
        stop_signal="TERM",
        stop_wait=times.main if process.is_main else times.workers,
        health=f"http {process.http.path or process.http.near}",
        listens=_listens(settings, process),
        # Others can answer for most workers, but for nothing else.
        oom_score=100 if process.is_main else 200,
        # Requests wait for main in any case.
        stands_alone=not process.is_main and plan.topology.stands_alone(process),
        environment=(
            notify(settings),
            *jemalloc,
            *reactor,
            *authorities,
            *_fixes(settings),
            *_limit(settings),
            *_header(plan.operator),
            *_trusted(settings),
            *tracing,
        ),
    )


def _listens(settings: Settings, process: Process) -> tuple[str, ...]:
    """The addresses of the listeners that options.py gives the process."""
    metrics = process.metrics if settings.enable_metrics else None
    found = (process.http, process.replication, metrics)
    return tuple(address.listens for address in found if address is not None)


def _fixes(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Name the fixes of Synapse, unless all are applied as by default."""
    if settings.fixes == ALL:
        return ()
    return (("GANGLION_FIXES", as_text(settings.fixes)),)


def _limit(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Name the number of requests at once, unless it is the default of in_synapse.shedding."""
    name, at_once = "GANGLION_REQUESTS_AT_ONCE", settings.requests_at_once
    if settings.test_mode and name not in settings.given:
        at_once = 0
    return () if at_once == REQUESTS_AT_ONCE else ((name, str(at_once)),)


def _header(operator: OperatorFiles) -> tuple[tuple[str, str], ...]:
    """Name the header of a request's ID, unless it is the usual one."""
    header = request_id_header(operator)
    return () if header == REQUEST_ID_HEADER else (("GANGLION_REQUEST_ID_HEADER", header),)


def _trusted(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Name the certificates that a process trusts when it asks for replication."""
    if not settings.encrypts_replication:
        return ()
    secret = settings.paths.secret
    own = ("GANGLION_REPLICATION_OWN", secret("replication_cert"))
    if settings.replication_ca is None:
        return (own,)
    return own, ("GANGLION_REPLICATION_AUTHORITIES", secret("replication_ca"))


def traces(operator: OperatorFiles) -> bool:
    """Return whether the operator's files switch tracing on, so that Synapse needs its tracer."""
    return operator.section("opentracing").get("enabled") is True


def _directories(settings: Settings) -> tuple[Directory, ...]:
    logs = Directory(path=settings.paths.log_files, mode=0o750, service=NAME)
    return (
        Directory(path=settings.paths.sockets, mode=0o750, service=NAME, entered_by="nginx"),
        Directory(path=settings.paths.temporary, mode=0o1777),
        *((logs,) if settings.logs_to_disk else ()),
    )


def _rows(_plan: Plan) -> tuple[Row, ...]:
    return (
        Row(
            name="Synapse open files",
            amount="hard limit",
            memory=0,
            reason="each process raises its own limit as far as it may: soft_file_limit",
        ),
    )


SERVICE = Service(
    name=NAME,
    account="synapse",
    after=("postgres", "redis"),
    programs=_programs,
    files=files,
    directories=_directories,
    rows=_rows,
)
