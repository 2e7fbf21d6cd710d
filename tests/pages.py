"""Invented facts for the status page."""

import copy
import random
from typing import Any

from tests.plans import topology_of

FORTY = (
    "event_persister:4, synchrotron:8, client_reader:6, event_creator:3, federation_reader:6,"
    " federation_inbound:2, federation_sender:4, media_repository:2, pusher:2, background_worker,"
    " user_dir, appservice"
)


def forty_workers(now: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a small server with 40 workers in place of its own."""
    chance = random.Random(1)
    found = copy.deepcopy(now)
    topology = topology_of(FORTY)
    (like,) = (item for item in now["processes"] if item["name"] == "main")
    workers = [
        {
            **like,
            "name": item.name,
            "group": item.group,
            "roles": list(item.roles),
            "uptime": 86400 * chance.uniform(1, 30),
            "processor": chance.uniform(0.02, 0.8),
            "private": 2**20 * chance.uniform(40, 300),
            "connections": chance.randint(0, 6),
            "most_connections": 8,
            "requests": (requests := chance.uniform(0, 60)),
            "failed": 0.0,
            "median": 0.002 + requests / 9000,
            "slow": 0.05 + requests / 300,
        }
        for item in topology.workers
    ]
    rest = [item for item in found["processes"] if not item["synapse"] or item["name"] == "main"]
    place = next(index for index, item in enumerate(rest) if item["name"] == "main") + 1
    found["processes"] = [*rest[:place], *workers, *rest[place:]]
    groups: dict[str, list[str]] = {}
    for item in topology.workers:
        groups.setdefault(item.group, []).append(item.name)
    passed = ("event_persister", "federation_sender", "pusher", "background_worker", "appservice")
    found["groups"] = [
        *(group for group in now["groups"] if group["name"] == "main"),
        *(
            {
                "name": name,
                "members": members,
                "routes": [] if name in passed else ["sync", "login"],
            }
            for name, members in groups.items()
        ),
    ]
    found["total"] = {"requests": 812.0, "failed": 0.0, "median": 0.006, "slow": 0.31}
    return found
