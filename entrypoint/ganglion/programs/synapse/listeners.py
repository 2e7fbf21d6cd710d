"""Where a process of Synapse listens: Synapse's option `listeners`, or `worker_listeners`."""

from typing import Any

from ganglion.programs.synapse.request_id import request_id_header
from ganglion.settings import operator_listeners
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address, Process


def listeners(
    settings: Settings, process: Process, resources: list[str], operator: OperatorFiles
) -> list[dict[str, Any]]:
    """Return the listeners of a process, whose public one serves `resources`."""
    kept = operator_listeners.read(operator.options)
    public = _listener(process.http, resources or ["health"], x_forwarded=True)
    header = {"request_id_header": request_id_header(operator)}
    public |= header
    if process.is_main and kept.compress:
        # Synapse's workers ignore it.
        public["resources"] = [
            {"names": [name], **({"compress": True} if name in kept.compress else {})}
            for name in resources
        ]
    if process.is_main and kept.additional_resources:
        public["additional_resources"] = dict(kept.additional_resources)
    found = [public]
    if process.replication is not None:
        found.append(_listener(process.replication, ["replication"]) | header)
    if settings.enable_metrics:
        # Not on the HTTP listener: Synapse decodes %6d before it looks for /_synapse/metrics,
        # so a proxy in front could not keep it shut there.
        found.append(_listener(process.metrics, ["metrics"]))
    return found


def manholes(operator: OperatorFiles) -> list[dict[str, Any]]:
    """Main's manholes. Synapse cannot open one at a unix socket."""
    return [
        {"type": "manhole", "port": port, "bind_addresses": ["127.0.0.1"]}
        for port in operator_listeners.read(operator.options).manholes
    ]


def _listener(
    address: Address, resources: list[str], *, x_forwarded: bool = False
) -> dict[str, Any]:
    where: dict[str, Any] = (
        {"path": address.path}
        if address.path
        else {"port": address.port, "bind_addresses": [address.bound]}
    )
    forwarded = {"x_forwarded": True} if x_forwarded else {}
    tls = {"tls": True} if address.tls else {}
    return {"type": "http", **where, **tls, **forwarded, "resources": [{"names": resources}]}
