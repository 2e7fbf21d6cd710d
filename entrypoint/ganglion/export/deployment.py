"""All that the targets write down: units with their variables and memory, secrets, stores."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ganglion.budget.connections import SPARE_CONNECTIONS, bounds
from ganglion.errors import ConfigError, Problem
from ganglion.export.sizes import sizes
from ganglion.export.units import HOSTS, POSTGRES, REDIS, Unit, alone, needed, units
from ganglion.machine.limits import amount
from ganglion.programs.program import Plan
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.settings.part_problems import SHARED_SECRETS
from ganglion.settings.variables import Settings, variables
from ganglion.topology.topology import Topology

OF_STORES = tuple(f"{store.upper()}_" for store in (POSTGRES, REDIS))
# The export decides these, or they are about this machine.
DECIDED = ("GANGLION_ONLY", "GANGLION_HOSTS")
OF_THIS_MACHINE = frozenset(
    {
        *DECIDED,
        "GANGLION_DATA",
        "GANGLION_RUN",
        "GANGLION_MEMORY",
        "SYNAPSE_CONFIG_PATH",
        "SYNAPSE_CONFIG_DIR",
        "SYNAPSE_TLS_CERT",
        "SYNAPSE_TLS_KEY",
        # nginx has the file at its usual place: Deployment.routes.
        "GANGLION_ROUTES",
    }
)
# Values with which the configuration of each container is tried. They are written nowhere.
TRIED = {
    "SYNAPSE_SIGNING_KEY": f"ed25519 a_tried {'A' * 43}",
    **dict.fromkeys(
        (
            "SYNAPSE_WORKER_REPLICATION_SECRET",
            "SYNAPSE_MACAROON_SECRET_KEY",
            "SYNAPSE_FORM_SECRET",
            "SYNAPSE_REGISTRATION_SHARED_SECRET",
            "POSTGRES_PASSWORD",
            "REDIS_PASSWORD",
        ),
        "tried",
    ),
}
# Another name of WORKERS, with rules of its own.
OLD_WORKERS = "SYNAPSE_WORKER_TYPES"
# Only main answers requests with it, and `ganglion register-user` sends them.
REGISTRATION = ("registration_shared_secret", "SYNAPSE_REGISTRATION_SHARED_SECRET")
Assemble = Callable[[Mapping[str, str]], Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A server in several containers.

    `plan` is that of the container with main and nginx: its topology has the address of every
    process. `environment` are the variables of all containers, `secrets` the names of variables
    whose values are never written. `memory` is that of a container of each unit, in bytes. `stores`
    are PostgreSQL and Redis where the variables name none: the target brings these along. `given`
    has each secret that a variable gives, with the path of its file or "". `version` is that of the
    image, as a text that changes with its programs.
    """

    plan: Plan
    units: tuple[Unit, ...]
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    memory: Mapping[str, int]
    stores: tuple[str, ...]
    given: Mapping[str, str]
    version: str

    def variables_of(self, unit: Unit, only: str) -> dict[str, str]:
        """Return the variables of a container of a unit, without secrets. `only` names its part."""
        return {
            **(without_stores(self.environment) if unit.is_nginx else self.environment),
            "WORKERS": workers_of(self.plan.topology, unit, only),
            "GANGLION_HOSTS": HOSTS,
            "GANGLION_ONLY": only,
            "GANGLION_MEMORY": amount(self.memory[unit.name]),
        }

    def secrets_of(self, unit: Unit) -> tuple[str, ...]:
        """Return the variables of a unit's secrets. nginx knows none."""
        return () if unit.is_nginx else self.secrets

    @property
    def connections(self) -> int:
        """The max_connections that PostgreSQL needs: all pools full, and some, in steps of 50."""
        settings, topology = self.plan.settings, self.plan.topology
        pools = sum(
            most
            for unit in self.units
            for process in unit.processes
            for _, most in bounds(settings, alone(topology, process)).values()
        )
        # Each container has one more, with its locks, and the migration two. A reader may run twice
        # while it is replaced.
        containers = sum(unit.replicas for unit in self.units) + 2
        return max(100, -(-(pools + containers + SPARE_CONNECTIONS) // 50) * 50)

    @property
    def routes(self) -> str:
        """The file with the operator's routes, which nginx reads; empty without one."""
        if self.plan.routes == OperatorRoutes():
            return ""
        return self.plan.settings.routes_file or self.plan.settings.paths.routes_yaml

    @property
    def configuration(self) -> tuple[str, ...]:
        """The operator's files, which every process reads."""
        return (*self.plan.operator.paths, *self.plan.operator.all_registrations)


def deployment(
    environ: Mapping[str, str], assemble: Assemble, *, ranges: bool = False, version: str = ""
) -> Deployment:
    """Split the server that the variables describe.

    `assemble` makes a plan from variables. `ranges` says that the target changes the number of
    readers within the ranges of WORKERS: then everything is made for the upper numbers, such as
    nginx's pools and the connections. Raises ConfigError with the problems of all containers
    together, as each of them would report its own.
    """
    problems = [
        Problem(
            variable=name,
            value=environ[name],
            message="is decided by the export",
            hint=f"unset {name}",
        )
        for name in DECIDED
        if environ.get(name, "").strip()
    ]
    base = {name: text for name, text in environ.items() if name not in DECIDED}
    stores = _stores(environ)
    base |= {f"{store.upper()}_HOST": store for store in stores}
    tried = _tried(base)

    def plan_of(unit: Unit, memory: int) -> Plan:
        # Exactly as its container has them: nginx gets no secret.
        given = without_stores(base) if unit.is_nginx else tried
        part = unit.only[0]
        own = {
            "WORKERS": workers_of(plan.topology, unit, part),
            "GANGLION_ONLY": part,
            "GANGLION_MEMORY": amount(memory),
        }
        return assemble({**_without_old_name(given), "GANGLION_HOSTS": HOSTS, **own})

    together = {"GANGLION_HOSTS": HOSTS, "GANGLION_ONLY": "nginx,main"}
    try:
        plan = assemble({**tried, **together})
        least: dict[str, int] = {}
        if ranges and plan.topology.ranges:
            least, widest = _widest(plan.topology)
            tried = {**_without_old_name(tried), "WORKERS": widest}
            plan = assemble({**tried, **together})
        split = units(plan.topology, least)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    memory, refused = sizes(plan, split)
    problems.extend(refused)
    if not problems:
        problems.extend(_problems(split, memory, plan_of))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    given = _given(base)
    return Deployment(
        plan=plan,
        units=split,
        environment=_environment(base, plan.settings, stores),
        secrets=_secrets(plan, given, stores),
        memory=memory,
        stores=stores,
        given=given,
        version=version,
    )


def workers_of(topology: Topology, unit: Unit, only: str) -> str:
    """Return the text of WORKERS for a container: as much of it as its part needs (units.needed).

    So the container stays as it is when readers are added. `only` is the value of GANGLION_ONLY,
    whose number may be a placeholder of the target.
    """
    if unit.is_nginx or unit.single:
        return needed(topology, *unit.processes).text or "none"
    number = only.removeprefix(unit.stem)
    own = f"{unit.stem}={'+'.join(unit.processes[0].roles)}:{number}"
    return ", ".join(filter(None, (needed(topology, topology.main).text, own)))


def _widest(topology: Topology) -> tuple[dict[str, int], str]:
    """Return the lower number of each entry with a range, and WORKERS with the upper ones."""
    groups = {worker.group: worker for worker in topology.workers}
    numbers = Counter(worker.group for worker in topology.workers)
    text = ", ".join(
        f"{group}={'+'.join(worker.roles)}:{topology.ranges.get(group, numbers[group])}"
        for group, worker in groups.items()
    )
    return {group: numbers[group] for group in topology.ranges}, text


def _without_old_name(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environ.items() if name != OLD_WORKERS}


def _problems(
    split: tuple[Unit, ...],
    memory: Mapping[str, int],
    plan_of: Callable[[Unit, int], Plan],
) -> list[Problem]:
    """Try the configuration of one container of each unit, as its start would."""
    found: list[Problem] = []
    for unit in split:
        try:
            plan_of(unit, memory[unit.name])
        except ConfigError as error:
            found.extend(error.problems)
    return found


def without_stores(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables without secrets, and without those of PostgreSQL and Redis."""
    secret = {variable.name for _, variable in variables() if variable.secret}
    return {
        name: text
        for name, text in environ.items()
        if name.removesuffix("_FILE") not in secret and not name.startswith(OF_STORES)
    }


def _stores(environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        store for store in (POSTGRES, REDIS) if not environ.get(f"{store.upper()}_HOST", "").strip()
    )


def _tried(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with a value for each secret that has none."""
    given = {name for name, text in environ.items() if text.strip()}
    missing = {
        name: text
        for name, text in TRIED.items()
        if name not in given and f"{name}_FILE" not in given
    }
    return {**environ, **missing}


def _environment(
    environ: Mapping[str, str], settings: Settings, stores: tuple[str, ...]
) -> dict[str, str]:
    """Return the variables that every container gets, in the order of the table."""
    found: dict[str, str] = {"WORKERS": ""}
    for _, variable in variables():
        if variable.secret or variable.name in OF_THIS_MACHINE:
            continue
        text = next((environ[name] for name in variable.names if environ.get(name, "").strip()), "")
        if text:
            found[variable.name] = " ".join(text.split()) if variable.name == "WORKERS" else text
    found.setdefault("SYNAPSE_SERVER_NAME", settings.server_name)
    return found | {f"{store.upper()}_HOST": store for store in stores}


def _given(environ: Mapping[str, str]) -> dict[str, str]:
    """Return each secret that a variable gives, with the path of its file if it has one."""
    found: dict[str, str] = {}
    for _, variable in variables():
        if variable.secret:
            path = environ.get(f"{variable.name}_FILE", "").strip()
            if path or environ.get(variable.name, "").strip():
                found[variable.name] = path
    return found


def _secrets(plan: Plan, given: Mapping[str, str], stores: tuple[str, ...]) -> tuple[str, ...]:
    """Return the variables of all secrets: those that containers share, and those that are given.

    One that the operator's files give stays there.
    """
    options = plan.operator.options
    own = {
        variable
        for name, variable in (*SHARED_SECRETS.items(), REGISTRATION)
        if not {name, f"{name}_path"} & options.keys()
    }
    always = {*own, "POSTGRES_PASSWORD", *(["REDIS_PASSWORD"] if REDIS in stores else [])}
    return tuple(
        variable.name
        for _, variable in variables()
        if variable.secret and (variable.name in always or variable.name in given)
    )
