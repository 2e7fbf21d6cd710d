"""systemd: a target, and a unit for each process.

Synapse itself tells systemd when a process is ready (sd_notify(3)), so `After=` waits for main's
migrations. systemd opens nginx's public ports and hands them over, so nginx needs no privilege and
a restart of it refuses nobody. Files are below the paths of the machine that they are for.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from ganglion.budget.amounts import MB
from ganglion.export.place import POSTGRES, REDIS, Place, memory_limit, working_memory
from ganglion.export.synapse import (
    HOMESERVER,
    homeserver,
    log_path,
    logging,
    worker,
    worker_path,
    yaml_file,
)
from ganglion.export.unit_file import Section, assignment, command, unit
from ganglion.files.file import File
from ganglion.machine.limits import amount
from ganglion.programs import nginx
from ganglion.programs.program import Plan
from ganglion.programs.stopping import stop_times
from ganglion.programs.synapse.options import secret_files
from ganglion.topology.names import MAIN
from ganglion.topology.topology import Process

# The prefix of all units, and the target that has them all.
PREFIX = "ganglion"
TARGET = f"{PREFIX}.target"
UNITS = "etc/systemd/system"
PROXY = f"{PREFIX}-nginx"
ACCOUNT, PROXY_ACCOUNT = "synapse", "www-data"
# A program is tried again for as long as its database or its file is missing.
PATIENCE: Section = (("StartLimitIntervalSec", "0"),)
COMMENT = "Made by `ganglion export systemd`. Changes belong in a drop-in: systemctl edit."
# systemd-analyze security counts these. MemoryDenyWriteExecute is not among them: Synapse's TLS
# library (cffi's callbacks) and nginx's regular expressions (pcre_jit) make code at run time.
HARDENING: Section = (
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("DevicePolicy", "closed"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectProc", "invisible"),
    ("ProcSubset", "pid"),
    ("LockPersonality", "yes"),
    ("RemoveIPC", "yes"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    # Synapse raises its own limit of open files, which is one of @resources.
    ("SystemCallFilter", "~@privileged"),
    ("SystemCallErrorNumber", "EPERM"),
    ("KeyringMode", "private"),
    ("UMask", "0027"),
)


def files(plan: Plan, place: Place) -> tuple[File, ...]:
    """Return every file, by its path below `/`. `plan` is that of `placed`."""
    below = place.etc.lstrip("/")
    own = (
        yaml_file(HOMESERVER, homeserver(plan), secret=True),
        *(yaml_file(worker_path(item.name), worker(plan, item)) for item in plan.topology.workers),
        *(
            yaml_file(log_path(item.name), logging(plan, {"class": "logging.StreamHandler"}))
            for item in plan.topology.processes
        ),
        *secret_files(plan),
        *_nginx_files(plan, place),
    )
    units = (
        File(path=TARGET, content=_target(plan)),
        *(
            File(path=f"{unit_of(item.name)}.service", content=_synapse(plan, place, item))
            for item in plan.topology.processes
        ),
        File(path=f"{PROXY}.socket", content=_socket(plan)),
        File(path=f"{PROXY}.service", content=_nginx(plan, place)),
    )
    return (
        *(replace(file, path=f"{below}/{file.path}", program="") for file in own),
        *(replace(file, path=f"{UNITS}/{file.path}") for file in units),
        File(path=f"etc/sysusers.d/{PREFIX}.conf", content=_accounts(place)),
        File(path=f"etc/tmpfiles.d/{PREFIX}.conf", content=_directories(plan, place)),
        File(path="README.md", content=_readme(plan, place)),
    )


def unit_of(process: str) -> str:
    """Return the name of a process's unit. `+` of a worker's name is allowed in it."""
    return f"{PREFIX}-{process}"


def _target(plan: Plan) -> str:
    names = [f"{unit_of(item.name)}.service" for item in plan.topology.processes]
    return unit(
        COMMENT,
        Unit=(
            ("Description", f"Matrix homeserver {plan.settings.server_name}"),
            *(("Wants", name) for name in (*names, f"{PROXY}.socket", f"{PROXY}.service")),
        ),
        Install=(("WantedBy", "multi-user.target"),),
    )


def _stores(plan: Plan) -> Iterator[str]:
    """Yield Debian's units of the stores that run on the same machine."""
    settings = plan.settings
    if settings.postgres_host in (POSTGRES, "/var/run/postgresql", REDIS, "localhost", "::1"):
        yield "postgresql.service"
    if settings.redis_path or settings.redis_host in (REDIS, "localhost", "::1"):
        yield "redis-server.service"


def _synapse(plan: Plan, place: Place, process: Process) -> str:
    settings, budget = plan.settings, plan.budget
    times = stop_times(settings.stop_timeout)
    paths = settings.paths
    configs = [paths.conf_file(HOMESERVER)]
    after = ["network-online.target", *_stores(plan)]
    if not process.is_main:
        configs.append(paths.conf_file(worker_path(process.name)))
        after.append(f"{unit_of(MAIN)}.service")
    app = "synapse.app.homeserver" if process.is_main else "synapse.app.generic_worker"
    words = (word for path in configs for word in ("--config-path", path))
    roles = "main process" if process.is_main else f"{process.name}: {', '.join(process.roles)}"
    writable = [place.data, paths.sockets]
    media = str(homeserver(plan)["media_store_path"])
    if not PurePosixPath(media).is_relative_to(place.data):
        writable.append(media)
    return unit(
        COMMENT,
        Unit=(
            ("Description", f"Synapse {roles}"),
            ("Documentation", "https://element-hq.github.io/synapse/latest/"),
            ("PartOf", TARGET),
            ("Wants", "network-online.target"),
            # Main migrates the database, and reports itself ready after that. Not Requires=: a main
            # that fails once would leave the workers dead, and a restart of it would restart them.
            # A worker that finds no tables, or old ones, ends, and is tried again.
            *((("Wants", f"{unit_of(MAIN)}.service"),) if not process.is_main else ()),
            ("After", " ".join(after)),
            *PATIENCE,
        ),
        Service=(
            ("Type", "notify"),
            ("NotifyAccess", "main"),
            ("User", ACCOUNT),
            ("Group", ACCOUNT),
            ("WorkingDirectory", place.data),
            *(
                (("Environment", assignment("SYNAPSE_ASYNC_IO_REACTOR", "1")),)
                if settings.asyncio_reactor
                else ()
            ),
            ("ExecStart", command(place.python, "-m", app, *words)),
            ("ExecReload", "kill -HUP $MAINPID"),
            ("Restart", "always"),
            ("RestartSec", "3"),
            # A migration of a large database takes hours.
            ("TimeoutStartSec", "infinity" if process.is_main else "5min"),
            ("TimeoutStopSec", f"{times.main if process.is_main else times.workers}"),
            ("KillMode", "mixed"),
            ("MemoryHigh", _bytes(3 * memory_limit(budget, process.name) // 4)),
            ("MemoryMax", _bytes(memory_limit(budget, process.name))),
            ("LimitNOFILE", "65536"),
            ("ReadWritePaths", " ".join(writable)),
            *HARDENING,
        ),
        Install=(("WantedBy", TARGET),),
    )


def _bytes(number: int) -> str:
    return f"{number // MB}M"


def _socket(plan: Plan) -> str:
    return unit(
        COMMENT,
        Unit=(("Description", "Public ports of the Matrix homeserver"), ("PartOf", TARGET)),
        Socket=(
            *(("ListenStream", address) for address in nginx.public(plan)),
            ("BindIPv6Only", "ipv6-only"),
            ("Backlog", "4096"),
            ("NoDelay", "yes"),
            ("Service", f"{PROXY}.service"),
        ),
        Install=(("WantedBy", TARGET),),
    )


def _nginx_plan(plan: Plan, place: Place) -> Plan:
    """The plan with nginx's own directories. Addresses of Synapse's sockets stay."""
    settings = plan.settings
    own = replace(settings, etc=f"{place.etc}/nginx", run=f"/run/{PROXY}")
    if settings.tls:
        credentials = f"/run/credentials/{PROXY}.service"
        own = replace(own, tls_cert=f"{credentials}/certificate", tls_key=f"{credentials}/key")
    return replace(plan, settings=own)


def _nginx_files(plan: Plan, place: Place) -> Iterator[File]:
    for file in nginx.files(_nginx_plan(plan, place)):
        yield replace(file, path=f"nginx/{file.path}")


def _nginx(plan: Plan, place: Place) -> str:
    settings = plan.settings
    own = _nginx_plan(plan, place).settings
    inherited = "".join(f"{3 + number};" for number, _ in enumerate(nginx.public(plan)))
    processes = " ".join(f"{unit_of(item.name)}.service" for item in plan.topology.processes)
    credentials = (
        (
            ("LoadCredential", f"certificate:{settings.tls_cert}"),
            ("LoadCredential", f"key:{settings.tls_key}"),
        )
        if settings.tls
        else ()
    )
    found = nginx.amounts(plan.budget, plan.machine)
    conf = own.paths.conf_file(nginx.CONF)
    return unit(
        COMMENT,
        Unit=(
            ("Description", "nginx in front of Synapse's processes"),
            ("PartOf", TARGET),
            ("Requires", f"{PROXY}.socket"),
            ("After", f"{PROXY}.socket network-online.target {processes}"),
            *PATIENCE,
        ),
        Service=(
            ("Type", "exec"),
            ("User", PROXY_ACCOUNT),
            ("Group", PROXY_ACCOUNT),
            # systemd hands sockets over from descriptor 3 on; nginx finds their addresses itself.
            ("Environment", assignment("NGINX", inherited)),
            ("ExecStart", command(place.nginx, "-e", "stderr", "-c", conf)),
            ("ExecReload", "kill -HUP $MAINPID"),
            ("KillSignal", "SIGQUIT"),
            ("KillMode", "mixed"),
            ("Restart", "always"),
            ("RestartSec", "1"),
            ("TimeoutStopSec", f"{stop_times(settings.stop_timeout).nginx}"),
            ("RuntimeDirectory", f"{PROXY} {PROXY}/nginx"),
            ("MemoryMax", _bytes(max(256 * MB, 2 * plan.budget.memory[nginx.NAME]))),
            ("LimitNOFILE", f"{found.open_files}"),
            *credentials,
            *HARDENING,
        ),
        Install=(("WantedBy", TARGET),),
    )


def _accounts(place: Place) -> str:
    return f'# {COMMENT}\nu {ACCOUNT} - "Matrix Synapse" {place.data}\n'


def _directories(plan: Plan, place: Place) -> str:
    """Return tmpfiles.d(5): directories, and owners of the files with secrets."""
    etc, sockets = place.etc, plan.settings.paths.sockets
    lines = (
        f"d {place.data} 0750 {ACCOUNT} {ACCOUNT}",
        f"d {place.run} 0755 root root",
        # nginx enters it. Each process makes its sockets in it.
        f"d {sockets} 0750 {ACCOUNT} {PROXY_ACCOUNT}",
        f"z {etc}/{HOMESERVER} 0600 {ACCOUNT} {ACCOUNT}",
        # root's: systemd-tmpfiles refuses files below a directory of another account.
        f"z {etc}/secrets 0750 root {ACCOUNT}",
        f"z {etc}/secrets/* 0600 {ACCOUNT} {ACCOUNT}",
    )
    return "".join(f"{line}\n" for line in (f"# {COMMENT}", *lines))


def _readme(plan: Plan, place: Place) -> str:
    settings = plan.settings
    total = sum(working_memory(plan.budget, item.name) for item in plan.topology.processes)
    return f"""\
# {settings.server_name} with systemd

Synapse runs from `{place.python}`, and nginx from `{place.nginx}`. PostgreSQL is at
`{settings.postgres_host}`, with the database `{settings.postgres_db}` of `{settings.postgres_user}`
(`LC_COLLATE=C`), and Redis at `{settings.redis_path or settings.redis_host}`. The processes take
about {amount(total)} of memory with full caches.

    cp -r --preserve=mode etc/. /etc/
    systemd-sysusers
    systemd-tmpfiles --create
    systemctl daemon-reload
    systemctl enable --now {TARGET}

After another export: copy it, remove the units that are no longer in it, and type
`systemctl daemon-reload && systemctl restart {TARGET}`. All processes stop before any starts,
because processes with different lists of writers would damage the streams.
"""
