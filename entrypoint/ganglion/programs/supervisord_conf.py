"""supervisord's configuration: a program for each process, and what each waits for."""

from dataclasses import dataclass

from ganglion.files.file import File
from ganglion.files.templates import fill
from ganglion.machine.installed import Machine
from ganglion.machine.unix_accounts import is_numeric
from ganglion.programs import control
from ganglion.programs.synapse.options import config_paths
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Process, Topology

# What each may take to stop before it is killed, in seconds. In the worst case they add up to 9
# before PostgreSQL, whose limit is long because it must not be killed while it writes; docker
# stop gives 10 in all. Stopping the preset complement takes under 2: tests/live/test_lifecycle.
STOP_NGINX, STOP_WORKER, STOP_MAIN, STOP_REDIS, STOP_POSTGRES = 2, 3, 2, 2, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program of supervisord's.

    `needs` are the programs that must be ready before it starts. A program says itself
    when it is ready: through NOTIFY_SOCKET or, where it has a `ready_line`, by a line with that in
    it.
    `priority` orders the groups: they are stopped one after the other, highest first.
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

    @property
    def user(self) -> str | None:
        """The account where it has a name; supervisord takes no other."""
        return None if self.account is None or is_numeric(self.account) else self.account

    @property
    def environment_text(self) -> str:
        """The `environment` setting: NAME="value", with the gate's own variables first."""
        pairs = (
            ("GANGLION_NEEDS", " ".join(self.needs)),
            *((("GANGLION_READY_LINE", self.ready_line),) if self.ready_line else ()),
            *((("GANGLION_ACCOUNT", self.account),) if self.account and not self.user else ()),
            *self.environment,
        )
        return ",".join(f'{name}="{value}"' for name, value in pairs)


def render(
    settings: Settings, topology: Topology, machine: Machine, operator: OperatorFiles
) -> File:
    """supervisord.conf."""
    programs = plan(settings, topology, machine, operator)
    groups = {program.group: program.priority for program in programs}
    return File(
        path="supervisord.conf",
        content=fill(
            "supervisord.conf.j2",
            run=settings.run,
            as_root=bool(machine.accounts),
            programs=programs,
            groups=[
                (group, priority, [item.name for item in programs if item.group == group])
                for group, priority in groups.items()
            ],
        ),
    )


def plan(
    settings: Settings, topology: Topology, machine: Machine, operator: OperatorFiles
) -> tuple[Program, ...]:
    """Every program, in the order in which they start."""
    servers: list[Program] = []
    if settings.embedded_postgres:
        servers.append(_postgres(settings, machine))
    if settings.embedded_redis:
        servers.append(_redis(settings, machine))
    main = _synapse(
        settings, machine, operator, topology.main, tuple(program.name for program in servers)
    )
    workers = tuple(
        _synapse(settings, machine, operator, worker, (main.name,)) for worker in topology.workers
    )
    synapse = (main, *workers)
    last = [_nginx(settings, machine, synapse)]
    if settings.test_mode:
        last.append(_control(settings, machine, synapse))
    return (*servers, *synapse, *last)


def notify_socket(settings: Settings) -> str:
    """Where a program says that it is ready, by the protocol of sd_notify(3)."""
    return f"{settings.run}/sockets/notify.sock"


def _notify(settings: Settings) -> tuple[str, str]:
    return "NOTIFY_SOCKET", notify_socket(settings)


def _postgres(settings: Settings, machine: Machine) -> Program:
    return Program(
        name="postgres",
        group="postgres",
        priority=100,
        command=(
            f"{machine.postgres_bin}/postgres",
            "-D",
            f"{settings.data}/postgres",
            "-c",
            f"config_file={settings.run}/conf/postgresql/postgresql.conf",
        ),
        account=machine.account("postgres"),
        needs=(),
        # A fast shutdown: connections are cut, what is committed is kept.
        stop_signal="INT",
        stop_wait=STOP_POSTGRES,
        environment=(_notify(settings),),
    )


def _redis(settings: Settings, machine: Machine) -> Program:
    return Program(
        name="redis",
        group="redis",
        priority=200,
        command=(machine.redis_server, f"{settings.run}/conf/redis.conf"),
        account=machine.account("redis"),
        needs=(),
        stop_signal="TERM",
        stop_wait=STOP_REDIS,
        environment=(_notify(settings),),
    )


def _synapse(
    settings: Settings,
    machine: Machine,
    operator: OperatorFiles,
    process: Process,
    needs: tuple[str, ...],
) -> Program:
    app = "synapse.app.homeserver" if process.is_main else "synapse.app.generic_worker"
    paths = config_paths(settings, operator, process)
    jemalloc = (("LD_PRELOAD", machine.jemalloc),) if machine.jemalloc else ()
    # Synapse looks only whether it is set.
    reactor = (("SYNAPSE_ASYNC_IO_REACTOR", "1"),) if settings.asyncio_reactor else ()
    # Authorities are looked up when a certificate is verified. Otherwise each process reads the
    # file of all of them twice at its start: 17 ms, and 3 MB that nobody shares.
    authorities = (("SSL_CERT_DIR", machine.authorities),) if machine.authorities else ()
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
        account=machine.account("synapse"),
        needs=needs,
        stop_signal="TERM",
        stop_wait=STOP_MAIN if process.is_main else STOP_WORKER,
        environment=(_notify(settings), *jemalloc, *reactor, *authorities),
    )


def _nginx(settings: Settings, machine: Machine, synapse: tuple[Program, ...]) -> Program:
    return Program(
        name="nginx",
        group="nginx",
        priority=500,
        command=(machine.nginx, "-e", "stderr", "-c", f"{settings.run}/conf/nginx.conf"),
        # The master binds ports and reads the TLS key; its workers drop to their account.
        account=None,
        needs=tuple(program.name for program in synapse),
        # At level notice, when its ports are open.
        ready_line="start worker processes",
        stop_signal="QUIT",
        stop_wait=STOP_NGINX,
    )


def _control(settings: Settings, machine: Machine, synapse: tuple[Program, ...]) -> Program:
    """The control application. It needs nobody to start, but must not take a processor from who
    is starting.
    """
    return Program(
        name="control",
        # Stopped together with nginx, so that it takes no time of its own.
        group="nginx",
        priority=500,
        command=(
            machine.python,
            "-P",
            "-m",
            "ganglion.control",
            f"{settings.run}/conf/{control.PATH}",
        ),
        # Ours: it tells the supervisor what to do, and puts one database in another's place. Where
        # it has to do this it is in test mode; nothing in production may have this account.
        account=None,
        needs=tuple(program.name for program in synapse),
        # gunicorn's quick shutdown.
        stop_signal="QUIT",
        stop_wait=STOP_NGINX,
        environment=(_notify(settings),),
    )
