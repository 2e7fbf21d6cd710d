"""The Job that makes or upgrades the tables before main starts."""

from hashlib import sha256
from typing import Any

from ganglion.export.deployment import Deployment
from ganglion.export.kubernetes_objects import Object, labels, metadata, selector
from ganglion.export.kubernetes_pods import init_container, template
from ganglion.export.units import MIGRATE
from ganglion.programs.synapse.options import as_yaml

# A Job that has ended is removed after this time, in seconds, so that the next apply runs it again
# if its name is still the same.
REMOVED = 600
# It may wait for PostgreSQL to start. The pauses between attempts grow to six minutes.
ATTEMPTS = 20


def job(deployment: Deployment) -> Object:
    """Return the Job. Its name has a checksum of its pod and of the versions, so each export of
    another version or configuration runs it.
    """
    main = deployment.units[1]
    pod = template(deployment, main, main.only[0])
    spec: dict[str, Any] = pod["spec"]
    del spec["topologySpreadConstraints"], spec["initContainers"]
    spec["restartPolicy"] = "OnFailure"
    spec["containers"] = [init_container(spec["containers"][0], "migrate")]
    # Only main's claim keeps data.
    spec["volumes"] = [
        *(item for item in spec["volumes"] if item["name"] != "media"),
        {"name": "data", "emptyDir": {}},
    ]
    pod["metadata"] = {
        "labels": labels(MIGRATE) | selector(MIGRATE),
        "annotations": {**pod["metadata"]["annotations"], "ganglion/version": deployment.version},
    }
    name = f"{MIGRATE}-{sha256(as_yaml(pod).encode()).hexdigest()[:10]}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(name, MIGRATE),
        "spec": {
            "backoffLimit": ATTEMPTS,
            "ttlSecondsAfterFinished": REMOVED,
            "template": pod,
        },
    }
