"""Where an exported server will have its files, and the plan for that place."""

from dataclasses import dataclass, replace

from ganglion.budget.amounts import MB, Budget
from ganglion.budget.share_out import AT_WORK
from ganglion.errors import ConfigError, Problem
from ganglion.programs.program import Plan
from ganglion.programs.registry import share_out
from ganglion.settings.logs import NONE
from ganglion.settings.secrets import Secrets
from ganglion.settings.variables import Settings
from ganglion.topology import topology

# Debian's sockets of PostgreSQL, and the address of its Redis.
POSTGRES, REDIS = "/run/postgresql", "127.0.0.1"
# A process that joins a large room takes this for a while, whatever its caches are.
LIMIT_LEAST = 512 * MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Absolute paths on the machine that will run the server.

    `etc` has the configuration, `data` persists, `run` has sockets. `python` is the interpreter of
    an environment with Synapse, `nginx` the program.
    """

    etc: str
    data: str
    run: str
    python: str
    nginx: str = "/usr/sbin/nginx"


def placed(plan: Plan, place: Place, secrets: Secrets) -> Plan:
    """Return the plan for a place where each program is started on its own.

    PostgreSQL and Redis are those of Debian unless variables name others. Raises ConfigError.
    """
    refuse(plan.settings)
    settings = replace(
        plan.settings,
        workers=plan.topology.text,
        repeats_add_up=False,
        etc=place.etc,
        data=place.data,
        run=place.run,
        prefork=False,
        # Nothing answers behind the control port there.
        control=False,
        # Standard error may be a socket there, which nginx cannot open.
        access_log=NONE,
        postgres_host=plan.settings.postgres_host or POSTGRES,
        redis_host=REDIS if plan.settings.embedded_redis else plan.settings.redis_host,
    )
    # No accounts: whatever starts a program decides that. The library's place may differ there.
    machine = replace(plan.machine, python=place.python, accounts=(), jemalloc=None)
    layout = topology.build(settings)
    return replace(
        plan,
        settings=settings,
        topology=layout,
        budget=share_out(settings, layout, machine),
        machine=machine,
        secrets=secrets,
    )


def refuse(settings: Settings) -> None:
    """Raise ConfigError for settings that only Ganglion's own supervisor can do."""
    problems = []
    if settings.test_mode:
        problems.append(
            Problem(
                variable="GANGLION_TEST_MODE",
                value="yes",
                message="needs Ganglion's supervisor, which an exported server does not have",
                hint="unset GANGLION_TEST_MODE",
            )
        )
    if settings.partial:
        problems.append(
            Problem(
                variable="GANGLION_ONLY",
                value=", ".join(settings.only),
                message="is for several containers, and the export is for one machine",
                hint="unset GANGLION_ONLY and GANGLION_HOSTS",
            )
        )
    if settings.sqlite is not None:
        problems.append(
            Problem(
                variable="database",
                value=settings.sqlite,
                message="is SQLite, which an exported server does not use",
                hint="stop the server and type `ganglion import --from-sqlite`, or set"
                " POSTGRES_HOST",
            )
        )
    if problems:
        raise ConfigError(problems)


def working_memory(budget: Budget, process: str) -> int:
    """Return the bytes that a process takes at work with full caches."""
    return budget.idle.each + AT_WORK + budget.caches[process].memory


def memory_limit(budget: Budget, process: str) -> int:
    """Return the bytes above which a process is faulty and may be ended."""
    return max(LIMIT_LEAST, 2 * working_memory(budget, process))
