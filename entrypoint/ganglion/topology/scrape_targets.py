"""The processes as targets of Prometheus."""

from typing import Any

from ganglion.topology.topology import Topology


def targets(topology: Topology, host: str, *, own: bool = False) -> list[dict[str, Any]]:
    """Describe each process as a target for Prometheus, as Synapse's worker image does.

    `host` is the address at which Prometheus reaches the control port. Synapse's dashboards find a
    process by the labels `job` and `index`: the group of a worker and its number in it. With `own`,
    Ganglion's own series are a target too. https://prometheus.io/docs/prometheus/latest/http_sd/
    """
    labels = [
        *(
            (item.name, item.group, item.name.removeprefix(item.group))
            for item in topology.workers
            if item.here
        ),
        *([(topology.main.name, "synapse", "1")] if topology.main.here else []),
    ]
    found = [
        {
            "targets": [host],
            "labels": {
                "job": job,
                "index": index,
                "__metrics_path__": f"/metrics/worker/{name}",
            },
        }
        for name, job, index in labels
    ]
    if own:
        path = {"__metrics_path__": "/metrics", "__param_only": "ganglion"}
        found.append({"targets": [host], "labels": {"job": "ganglion", **path}})
    return found
