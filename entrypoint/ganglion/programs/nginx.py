"""nginx: the reverse proxy in front of every process, rendered from the table of routes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ganglion.budget.amounts import KB, MB, Budget, Demand, Part, Row
from ganglion.files.file import File
from ganglion.files.templates import fill
from ganglion.machine.installed import Machine, Requirement
from ganglion.machine.limits import Limits
from ganglion.programs import peers
from ganglion.programs.program import Directory, Plan, Program, Service
from ganglion.programs.stopping import stop_times
from ganglion.programs.synapse.request_id import request_id_header
from ganglion.routing.nginx_maps import KEY_VARIABLES, NOBODY, maps, named_upstream
from ganglion.routing.table import Choice, Pin, Pool, table
from ganglion.settings import parsers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from ganglion.topology.scrape_targets import targets
from ganglion.topology.topology import Address, Process, Topology

NAME = "nginx"
CONF = "nginx.conf"
# The path by which the image's health check asks nginx itself, in a container without main.
ALIVE = "/.ganglion/alive"
# The pool whose members serve few requests at once.
LIMITED = "initial_synchrotron"
# MAX_REQUEST_SIZE of synapse/http/site.py: Synapse's own limit where uploads are smaller.
SYNAPSE_MAX_REQUEST = 200 * 65536
# https://ssl-config.mozilla.org/guidelines/5.7.json, "intermediate": suites with forward secrecy.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    ":ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    ":DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)
# Clients of one user that sync for the first time at once: more than a user has.
INITIAL_SYNCS_OF_USER = 2
# Bodies of up to this size are "large", longer ones "huge": nginx.conf.j2 sees it by their digits.
LARGE_BODY = 10**7
# An nginx worker takes 5M of PSS idle; a connection with its buffers is an estimate.
WORKER, CONNECTION = 6 * MB, 8 * KB
# One nginx worker passes on far more than one of Synapse's processes answers.
MOST_WORKERS = 4
CONNECTIONS_LEAST = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """nginx's numbers: the connections and files are those of one worker."""

    workers: int
    connections: int
    open_files: int


def amounts(budget: Budget, machine: Machine) -> Amounts:
    """The settings that the budget comes to. A large request body takes a file while it arrives."""
    workers = _workers(budget.limits)
    room = (budget.memory[NAME] // workers - WORKER) // CONNECTION
    connections = min(room, machine.open_files // 2)
    return Amounts(workers=workers, connections=connections, open_files=2 * connections)


def _workers(within: Limits) -> int:
    return min(MOST_WORKERS, within.cores)


def _programs(plan: Plan, needs: tuple[str, ...]) -> tuple[Program, ...]:
    conf = plan.settings.paths.conf_file(CONF)
    return (
        Program(
            name=NAME,
            group=NAME,
            priority=500,
            command=(plan.machine.binary(NAME), "-e", "stderr", "-c", conf),
            # The master binds ports and reads the TLS key; its workers drop to their account.
            account=None,
            needs=needs,
            # At level notice, when its ports are open.
            ready_line="start worker processes",
            stop_signal="QUIT",
            stop_wait=stop_times(plan.settings.stop_timeout).nginx,
            listens=public(plan),
            oom_score=50,
            health=f"nginx {plan.settings.reachable_at}:{plan.settings.http_port}",
        ),
    )


def public(plan: Plan) -> tuple[str, ...]:
    """Return all addresses of nginx.conf, each with its host."""
    tls = _tls(plan.settings, plan.machine) or {}
    control = _control(plan.settings, plan.topology, plan.machine) or {}
    ports = _listens(plan.settings.bind_address, plan.settings.http_port, plan.machine)
    found = (*ports, *tls.get("listens", ()), *control.get("listens", ()))
    return tuple(item if ":" in item else f"0.0.0.0:{item}" for item in found)


def _directories(settings: Settings) -> tuple[Directory, ...]:
    # The master is root, and makes the directories inside for its workers.
    return (Directory(path=settings.paths.nginx_directory, mode=0o755),)


def _demands(
    _settings: Settings, _topology: Topology, machine: Machine, within: Limits
) -> tuple[Demand, ...]:
    workers = _workers(within)
    most = WORKER + machine.open_files // 2 * CONNECTION
    least = min(WORKER + CONNECTIONS_LEAST * CONNECTION, most)
    part = Part(least=workers * least, part=40, most=workers * most)
    return (Demand(label="nginx", parts={NAME: part}),)


def _rows(plan: Plan) -> tuple[Row, ...]:
    found = amounts(plan.budget, plan.machine)
    return (
        Row(
            name="nginx workers",
            amount=f"{found.workers}",
            memory=plan.budget.memory[NAME],
            reason="one for each processor, up to four: one serves ten Synapse processes",
        ),
        Row(
            name="nginx connections",
            amount=f"{found.connections} each",
            memory=0,
            reason="by memory, at most half its files; a request takes two",
        ),
        Row(
            name="nginx open files",
            amount=f"{found.open_files} each",
            memory=0,
            reason="a connection, and a file where its body is large",
        ),
    )


def _amounts(plan: Plan) -> Mapping[str, int]:
    return asdict(amounts(plan.budget, plan.machine))


def files(plan: Plan) -> tuple[File, ...]:
    """Return nginx.conf, and the maps that it includes."""
    settings, topology, machine = plan.settings, plan.topology, plan.machine
    choices = table(topology, plan.routes.routes)
    initial = len(topology.having(LIMITED))
    nameable = topology.processes if settings.test_mode else ()
    max_upload = max(SYNAPSE_MAX_REQUEST, _max_upload(settings, plan.operator))
    found = amounts(plan.budget, machine)
    tables = maps(choices, plan.routes.pins, tuple(process.name for process in nameable))
    upstreams = [
        *(_upstream(pool, settings) for pool in _pools(choices)),
        *_pinned(topology, plan.routes.pins),
        *(_upstream_of(named_upstream(item.name), None, (item,), None) for item in nameable),
    ]
    part = {"upstreams": settings.paths.upstreams, "alive": ALIVE} if settings.partial else None
    server = File(
        path=CONF,
        content=fill(
            "nginx.conf.j2",
            part=part,
            directory=settings.paths.nginx_directory,
            pid=settings.paths.nginx_pid,
            maps=settings.paths.conf_file("maps.conf"),
            account=machine.account(NAME),
            nginx=found,
            upstreams=upstreams,
            # A pool with a limit refuses when it is busy, which is no fault.
            pools=[pool.upstream for pool in _pools(choices) if pool.name != LIMITED],
            pinned=bool(plan.routes.pins),
            max_request=SYNAPSE_MAX_REQUEST,
            max_upload=max_upload,
            http_listens=_listens(settings.bind_address, settings.http_port, machine),
            tls=_tls(settings, machine),
            trusted_proxies=settings.trusted_proxies,
            admin_networks=settings.admin_networks,
            well_known_server=settings.well_known_server,
            admin_all=set(parsers.ALL_NETWORKS) <= set(settings.admin_networks),
            initial_syncs=_initial_syncs(initial * settings.initial_syncs),
            # A request takes two connections. One address gets half of all.
            requests=max(1, found.workers * found.connections // 4),
            bodies=None if settings.test_mode else _bodies(plan.budget.limits.memory, max_upload),
            ciphers=CIPHERS,
            hsts=None if settings.hsts is None else round(settings.hsts),
            http2_directive=machine.http2_directive,
            keeps_connections=machine.keeps_connections,
            trace=settings.trace_headers,
            requests_log=settings.paths.requests if settings.control_runs else None,
            request_id=_request_id(plan.operator),
            access_log=settings.access_log,
            control=_control(settings, topology, machine),
            test=_test(settings, topology),
        ),
    )
    members = fill("upstreams.conf.j2", upstreams=upstreams, part=part)
    others = () if part is None else (File(path=peers.CONF, content=members),)
    return server, File(path="maps.conf", content=fill("maps.conf.j2", maps=tables)), *others


def _url(address: Address, path: str) -> str:
    """A URL as `proxy_pass` takes it: nginx wants a colon behind a socket's path."""
    return f"http://{address.near}{':' if address.path else ''}{path}"


def _pools(choices: tuple[Choice, ...]) -> tuple[Pool, ...]:
    """Every pool that some route uses, once, in the order of the table."""
    pools: dict[str, Pool] = {}
    for choice in choices:
        for pool in (choice.pool, *choice.fallbacks):
            pools.setdefault(pool.upstream, pool)
    return tuple(pools.values())


def _upstream(pool: Pool, settings: Settings) -> dict[str, Any]:
    """A pool, with the most requests that a member has at once.

    A request counts from when its body is complete: a slow client takes no place of a fast one.
    """
    most = settings.initial_syncs if pool.name == LIMITED else None
    return _upstream_of(pool.upstream, KEY_VARIABLES.get(pool.key), pool.members, most)


def _upstream_of(
    name: str, key: str | None, members: Sequence[Process], most: int | None
) -> dict[str, Any]:
    """An upstream as the template takes it. `zone` is the size of its shared memory, in K.

    nginx refuses a zone that is too small for its members, and 100 of them need more than 64K.
    """
    servers = [str(member.http) for member in members]
    zone = max(64, 4 * len(servers))
    return {"name": name, "key": key, "servers": servers, "most": most, "zone": zone}


def _initial_syncs(total: int) -> dict[str, int] | None:
    """How many initial syncs one address and one user run at once, of `total`."""
    if total == 0:
        return None
    return {
        "address": max(1, total * 3 // 4),
        "user": min(INITIAL_SYNCS_OF_USER, max(1, total // 2)),
    }


def _bodies(memory: int, max_upload: int) -> dict[str, int]:
    """How many bodies arrive at once, in all and from one address.

    nginx keeps each in a file, which takes memory where GANGLION_RUN is a tmpfs: so they take at
    most a quarter of the memory for each of the two kinds.
    """
    huge = max(4, memory // 4 // max_upload)
    large = max(16, memory // 4 // LARGE_BODY)
    return {"huge": huge, "huge_of": max(2, huge // 4), "large": large, "large_of": large // 4}


def _pinned(topology: Topology, pins: tuple[Pin, ...]) -> list[dict[str, Any]]:
    """An upstream for each worker that something is pinned to."""
    names = {pin.worker: pin.upstream for pin in pins}
    return [
        _upstream_of(names[worker.name], None, (worker,), None)
        for worker in topology.workers
        if worker.name in names
    ]


def _request_id(operator: OperatorFiles) -> dict[str, str]:
    """The header with a request's ID, and nginx's variable of what a client sends in it."""
    header = request_id_header(operator)
    return {"header": header, "variable": f"$http_{header.lower().replace('-', '_')}"}


def _max_upload(settings: Settings, operator: OperatorFiles) -> int:
    try:
        return parsers.size(str(operator.options.get("max_upload_size", settings.max_upload_size)))
    except parsers.Invalid:
        # Synapse itself reports an invalid option of its own best.
        return settings.max_upload_size


def _listens(address: str, port: int, machine: Machine) -> list[str]:
    if address != "*":
        return [f"[{address}]:{port}" if ":" in address else f"{address}:{port}"]
    return [f"{port}", *([f"[::]:{port}"] if machine.ipv6 else [])]


def _tls(settings: Settings, machine: Machine) -> dict[str, Any] | None:
    if not settings.tls:
        return None
    return {
        "listens": _listens(settings.bind_address, settings.federation_port, machine),
        "certificate": settings.tls_cert,
        "key": settings.tls_key,
    }


def _control(settings: Settings, topology: Topology, machine: Machine) -> dict[str, Any] | None:
    """The server on the control port: the control application, and each process's metrics."""
    if not settings.enable_metrics and not settings.control_runs:
        return None
    return {
        "listens": _listens(settings.control_bind_address, settings.control_port, machine),
        "hosts": [name.replace(".", "\\.") for name in settings.control_hosts],
        "application": f"http://unix:{settings.paths.control_socket}:"
        if settings.control_runs
        else None,
        "token": settings.control_token is not None,
        "metrics": [
            (process.name, _url(process.metrics, "/_synapse/metrics")) for process in topology.here
        ]
        if settings.enable_metrics
        else [],
        "targets": [json.dumps(item) for item in targets(topology, "$http_host")]
        if settings.enable_metrics and not settings.control_runs
        else [],
    }


def _test(settings: Settings, topology: Topology) -> dict[str, Any] | None:
    """The additions to the public ports in test mode."""
    if not settings.test_mode:
        return None
    return {
        "nobody": NOBODY,
        "names": ", ".join(process.name for process in topology.processes),
        "resetting": settings.paths.resetting,
    }


SERVICE = Service(
    name=NAME,
    runs=lambda settings: settings.runs_nginx,
    account="www-data",
    after=("synapse",),
    requirements=(Requirement(service=NAME, binary="nginx", package="nginx"),),
    programs=_programs,
    files=files,
    directories=_directories,
    demands=_demands,
    rows=_rows,
    amounts=_amounts,
)
