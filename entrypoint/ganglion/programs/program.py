"""The nouns of this package: Plan, Program, Directory, Requirement and Service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ganglion.budget.amounts import Budget, Demand, Row
from ganglion.files.file import File
from ganglion.machine.installed import Machine, Requirement
from ganglion.machine.limits import Limits
from ganglion.machine.unix_accounts import is_numeric
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.secrets import Secrets
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every decision that the rendered files depend on."""

    settings: Settings
    topology: Topology
    budget: Budget
    machine: Machine
    operator: OperatorFiles
    routes: OperatorRoutes
    secrets: Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program of supervisord's.

    `needs` are the programs that must be ready before it starts. A program reports that it is
    ready through NOTIFY_SOCKET or, where it has a `ready_line`, by a line that contains this text.
    `priority` orders the groups: they are stopped one after the other, highest first.
    `stop_wait` is how long it may take to stop before it is killed, in seconds. `health` is the
    protocol and the address by which the watchdog asks it, such as `http 127.0.0.1:8008` or
    `redis /run/ganglion/redis/redis.sock`: supervisor/watchdog.py. `listens` are the addresses at
    which the supervisor listens for it: supervisor/listening_sockets.py. `oom_score` says how much
    earlier than others the kernel kills it when memory is short, in thousandths of all memory:
    machine/oom_score.py. `stands_alone` says that no other program does its work while it is down,
    so that requests wait for it longer.
    """

    name: str
    group: str
    priority: int
    command: tuple[str, ...]
    account: str | None
    needs: tuple[str, ...]
    stop_signal: str
    stop_wait: int
    environment: tuple[tuple[str, str], ...] = ()
    ready_line: str = ""
    health: str = ""
    listens: tuple[str, ...] = ()
    oom_score: int = 0
    stands_alone: bool = False

    @property
    def user(self) -> str | None:
        """The account if it has a name; supervisord accepts no other."""
        return None if self.account is None or is_numeric(self.account) else self.account

    @property
    def environment_text(self) -> str:
        """The `environment` setting: NAME="value", with the gate's own variables first."""
        pairs = (
            ("GANGLION_NEEDS", " ".join(self.needs)),
            *((("GANGLION_READY_LINE", self.ready_line),) if self.ready_line else ()),
            *((("GANGLION_HEALTH", self.health),) if self.health else ()),
            *((("GANGLION_LISTENS", " ".join(self.listens)),) if self.listens else ()),
            *((("GANGLION_ALONE", "yes"),) if self.stands_alone else ()),
            *((("GANGLION_OOM_SCORE", f"{self.oom_score}"),) if self.oom_score else ()),
            *((("GANGLION_ACCOUNT", self.account),) if self.account and not self.user else ()),
            *self.environment,
        )
        return ",".join(f'{name}="{value}"' for name, value in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory that must exist before anything starts, with its mode and owner.

    `service` names the service whose account owns it; empty for the account that starts Ganglion.
    `entered_by` names the service whose group it gets, which may enter it at mode 0750.
    """

    path: str
    mode: int
    service: str = ""
    entered_by: str = ""


def _nothing(*_: object) -> tuple[()]:
    return ()


def _always(_settings: Settings) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One row of the registry: a service, and everything that depends on it.

    `account` is the UNIX account that its programs run as when Ganglion starts as root; without
    one they keep Ganglion's own account. `after` names the services whose programs must be ready
    first. `programs` gets the plan and the names of these programs. `amounts` are the settings
    that its share of the budget comes to, for `ganglion budget --json`.
    """

    name: str
    programs: Callable[[Plan, tuple[str, ...]], tuple[Program, ...]]
    runs: Callable[[Settings], bool] = _always
    account: str | None = None
    after: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    files: Callable[[Plan], tuple[File, ...]] = _nothing
    directories: Callable[[Settings], tuple[Directory, ...]] = _nothing
    demands: Callable[[Settings, Topology, Machine, Limits], tuple[Demand, ...]] = _nothing
    rows: Callable[[Plan], tuple[Row, ...]] = _nothing
    amounts: Callable[[Plan], Mapping[str, int]] | None = None


def notify(settings: Settings) -> tuple[str, str]:
    """The variable through which a program reports that it is ready: sd_notify(3)."""
    return "NOTIFY_SOCKET", settings.paths.notify_socket
