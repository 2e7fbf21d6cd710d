"""The embedded PostgreSQL server: its program, files and share of the budget."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ganglion.budget.amounts import GB, MB, Budget, Demand, Part, Row
from ganglion.budget.connections import CONNECTION, SPARE_CONNECTIONS, bounds
from ganglion.files.file import File
from ganglion.files.templates import fill
from ganglion.machine.installed import Machine
from ganglion.machine.limits import Limits
from ganglion.machine.nss_wrapper import environment
from ganglion.programs.program import Directory, Plan, Program, Service, notify
from ganglion.programs.stopping import stop_times
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

NAME = "postgres"
CONF = "postgresql/postgresql.conf"
# Its own processes, and one connection. Idle, all of them took 41M of PSS with main alone and 101M
# with the 17 processes of complement; main's first connection took 21M after its start.
OWN_PROCESSES = 25 * MB
# A hash takes twice work_mem: PostgreSQL's hash_mem_multiplier.
HASH = 2
# autovacuum_max_workers, each with its maintenance_work_mem.
VACUUMS = 3
# A crash of the machine may lose a test server's data; nothing waits for the disk. After a kill of
# PostgreSQL, and in a committed container, every commit is still there: the kernel holds it. So
# synchronous_commit stays on: docs/decisions/0008.
TESTING = (("fsync", "off"), ("full_page_writes", "off"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """The embedded server's settings, in MB except for the number of connections."""

    max_connections: int
    shared_buffers: int
    effective_cache_size: int
    work_mem: int
    maintenance_work_mem: int


def max_connections(conf: str) -> int:
    """Return the setting of this name in a rendered postgresql.conf."""
    (found,) = re.findall(r"^max_connections = (\d+)$", conf, re.MULTILINE)
    return int(found)


def amounts(budget: Budget) -> Amounts:
    """The settings that the budget comes to. The kernel's file cache is the memory left over."""
    memory = budget.memory
    sorts = _sorts(budget.limits, len(budget.pools))
    return Amounts(
        max_connections=budget.connections + SPARE_CONNECTIONS + further(budget),
        shared_buffers=memory["shared_buffers"] // MB,
        effective_cache_size=(memory["shared_buffers"] + memory["files"]) // MB,
        work_mem=memory["work_mem"] // sorts // MB,
        maintenance_work_mem=memory["maintenance_work_mem"] // VACUUMS // MB,
    )


def further(budget: Budget) -> int:
    """How many connections more a running server takes, for workers that are added while it runs.

    The number is fixed while PostgreSQL runs. Each costs 50 kB of shared memory once it is used
    (PostgreSQL 17, shared_memory_size with max_connections from 60 to 220).
    """
    return budget.connections // 2


def owner(machine: Machine) -> str:
    """The account that the server runs as, which is also its administrator's role."""
    return machine.account(NAME) or machine.ourselves


def _sorts(within: Limits, processes: int) -> int:
    """How many sorts grow at once: one that waits for a processor does not."""
    return HASH * min(within.cores, processes)


def _programs(plan: Plan, needs: tuple[str, ...]) -> tuple[Program, ...]:
    paths = plan.settings.paths
    return (
        Program(
            name=NAME,
            group=NAME,
            priority=100,
            command=(
                f"{plan.machine.postgres_bin}/postgres",
                "-D",
                paths.postgres,
                "-c",
                f"config_file={paths.conf_file(CONF)}",
            ),
            account=plan.machine.account(NAME),
            needs=needs,
            # A fast shutdown: connections are cut, committed data is kept.
            stop_signal="INT",
            stop_wait=stop_times(plan.settings.stop_timeout).postgres,
            health=f"postgres {paths.postgres_sockets}/.s.PGSQL.5432",
            environment=(
                notify(plan.settings),
                *environment(plan.machine.nss_wrapper, paths.accounts, paths.groups),
            ),
        ),
    )


def _files(plan: Plan) -> tuple[File, ...]:
    paths, machine = plan.settings.paths, plan.machine
    account = owner(machine)
    # If Synapse uses the owner's role, it logs in with the password like any other role.
    administrator = account if account != plan.settings.postgres_user else ""
    # The control application of test mode runs as our account, and resets the database.
    mapped = [account, machine.ourselves] if plan.settings.test_mode and administrator else []
    return (
        File(
            path=CONF,
            content=fill(
                "postgresql.conf.j2",
                hba_file=paths.conf_file("postgresql/pg_hba.conf"),
                ident_file=paths.conf_file("postgresql/pg_ident.conf"),
                sockets=paths.postgres_sockets,
                postgres=amounts(plan.budget),
                testing=TESTING if plan.settings.test_mode else (),
            ),
        ),
        File(
            path="postgresql/pg_hba.conf",
            content=fill("pg_hba.conf.j2", administrator=administrator, mapped=mapped),
        ),
        File(
            path="postgresql/pg_ident.conf",
            content=fill("pg_ident.conf.j2", administrator=administrator, mapped=mapped),
        ),
    )


def _directories(settings: Settings) -> tuple[Directory, ...]:
    path = settings.paths.postgres_sockets
    return (Directory(path=path, mode=0o750, service=NAME, entered_by="synapse"),)


def _demands(
    settings: Settings, topology: Topology, _machine: Machine, within: Limits
) -> tuple[Demand, ...]:
    needs = bounds(settings, topology).values()
    least, most = (CONNECTION * sum(bound[index] for bound in needs) for index in (0, 1))
    sorts = _sorts(within, len(topology.processes))
    return (
        Demand(
            label="PostgreSQL",
            fixed={NAME: OWN_PROCESSES},
            parts={
                "connections": Part(least=least, part=100, most=most),
                "shared_buffers": Part(least=32 * MB, part=200, most=16 * GB),
                "work_mem": Part(least=sorts * 4 * MB, part=40, most=sorts * 64 * MB),
                "maintenance_work_mem": Part(least=VACUUMS * 16 * MB, part=40, most=VACUUMS * GB),
            },
        ),
    )


def _rows(plan: Plan) -> tuple[Row, ...]:
    found, memory = amounts(plan.budget), plan.budget.memory
    return (
        Row(name="PostgreSQL", amount="", memory=memory[NAME], reason="its own processes"),
        Row(
            name="max_connections",
            amount=f"{found.max_connections}",
            memory=memory["connections"],
            reason=f"all pools full, {plan.budget.connections}, {SPARE_CONNECTIONS} spare for"
            f" administration, and {further(plan.budget)} for workers that are added while it runs",
        ),
        Row(
            name="shared_buffers",
            amount=f"{found.shared_buffers}MB",
            memory=memory["shared_buffers"],
            reason="a fifth of what the processes leave",
        ),
        Row(
            name="effective_cache_size",
            amount=f"{found.effective_cache_size}MB",
            memory=0,
            reason="a hint, not an allocation: shared_buffers and the kernel's file cache",
        ),
        Row(
            name="work_mem",
            amount=f"{found.work_mem}MB",
            memory=memory["work_mem"],
            reason="for each sort; as many at once as processors or processes, hashes twice",
        ),
        Row(
            name="maintenance_work_mem",
            amount=f"{found.maintenance_work_mem}MB",
            memory=memory["maintenance_work_mem"],
            reason="for each of three autovacuum workers",
        ),
    )


def _amounts(plan: Plan) -> Mapping[str, int]:
    return asdict(amounts(plan.budget))


SERVICE = Service(
    name=NAME,
    runs=lambda settings: settings.embedded_postgres,
    account="postgres",
    programs=_programs,
    files=_files,
    directories=_directories,
    demands=_demands,
    rows=_rows,
    amounts=_amounts,
)
