"""nginx's configuration, out of the table of routes."""

from typing import Any

from ganglion.budget.amounts import Budget
from ganglion.files.file import File
from ganglion.files.templates import fill
from ganglion.machine.installed import Machine
from ganglion.programs import control
from ganglion.routing.nginx_maps import KEY_VARIABLES, NOBODY, maps, named_upstream
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.routing.table import Choice, Pin, Pool, table
from ganglion.settings import parsers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address, Topology

# MAX_REQUEST_SIZE of synapse/http/site.py: what Synapse takes where uploads are smaller.
SYNAPSE_MAX_REQUEST = 200 * 65536


def render(
    settings: Settings,
    topology: Topology,
    budget: Budget,
    machine: Machine,
    operator: OperatorFiles,
    routes: OperatorRoutes,
) -> tuple[File, ...]:
    """nginx.conf, and the maps that it includes."""
    choices = table(topology, routes.routes)
    initial = len(topology.having("initial_synchrotron"))
    nameable = topology.processes if settings.test_mode else ()
    tables = maps(choices, routes.pins, tuple(process.name for process in nameable))
    server = File(
        path="nginx.conf",
        content=fill(
            "nginx.conf.j2",
            run=settings.run,
            account=machine.account("nginx"),
            nginx=budget.nginx,
            upstreams=[
                *(_upstream(pool) for pool in _pools(choices)),
                *_pinned(topology, routes.pins),
                *(
                    {"name": named_upstream(item.name), "key": None, "servers": [str(item.http)]}
                    for item in nameable
                ),
            ],
            pinned=bool(routes.pins),
            max_body=max(SYNAPSE_MAX_REQUEST, _max_upload(settings, operator)),
            http_listens=_listens(settings.bind_address, settings.http_port, machine),
            tls=_tls(settings, machine),
            trusted_proxies=settings.trusted_proxies,
            admin_networks=settings.admin_networks,
            well_known_server=settings.well_known_server,
            initial_syncs=initial * settings.initial_syncs,
            trace=settings.trace_headers,
            control=_control(settings, topology, machine),
            test=_test(settings, topology),
        ),
    )
    return server, File(path="maps.conf", content=fill("maps.conf.j2", maps=tables))


def _url(address: Address, path: str) -> str:
    """A URL as `proxy_pass` takes it: nginx wants a colon behind a socket's path."""
    return f"http://{address}{':' if address.path else ''}{path}"


def _pools(choices: tuple[Choice, ...]) -> tuple[Pool, ...]:
    """Every pool that some route uses, once, in the order of the table."""
    pools: dict[str, Pool] = {}
    for choice in choices:
        for pool in (choice.pool, choice.fallback):
            if pool is not None:
                pools.setdefault(pool.upstream, pool)
    return tuple(pools.values())


def _upstream(pool: Pool) -> dict[str, Any]:
    return {
        "name": pool.upstream,
        "key": KEY_VARIABLES.get(pool.key),
        "servers": [str(member.http) for member in pool.members],
    }


def _pinned(topology: Topology, pins: tuple[Pin, ...]) -> list[dict[str, Any]]:
    """An upstream for each worker that something is pinned to."""
    names = {pin.worker: pin.upstream for pin in pins}
    return [
        {"name": names[worker.name], "key": None, "servers": [str(worker.http)]}
        for worker in topology.workers
        if worker.name in names
    ]


def _max_upload(settings: Settings, operator: OperatorFiles) -> int:
    try:
        return parsers.size(str(operator.options.get("max_upload_size", settings.max_upload_size)))
    except parsers.Invalid:
        # Synapse says better what is wrong with its own option.
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
    """The server on the control port: metrics, and in test mode the controls."""
    if not settings.enable_metrics and not settings.test_mode:
        return None
    return {
        "listens": _listens(settings.bind_address, settings.control_port, machine),
        "application": f"http://unix:{control.socket(settings)}:" if settings.test_mode else None,
        "metrics": [
            (process.name, _url(process.metrics, "/_synapse/metrics"))
            for process in topology.processes
        ]
        if settings.enable_metrics
        else [],
    }


def _test(settings: Settings, topology: Topology) -> dict[str, Any] | None:
    """What the public ports have more in test mode."""
    if not settings.test_mode:
        return None
    return {
        "nobody": NOBODY,
        "names": ", ".join(process.name for process in topology.processes),
        "resetting": control.resetting(settings),
    }
