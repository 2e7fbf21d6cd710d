"""The few series of Synapse's processes that the page shows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ganglion.control.metrics.gather import gather
from ganglion.topology.topology import Topology

# In seconds, for all processes together.
WITHIN = 2.0
POSITION = "synapse_storage_stream_current_position"
WORKING, MOST = "synapse_threadpool_working_threads", "synapse_threadpool_max_threads"
MEMORY = "ganglion_process_memory_bytes"
# Only these, where in_synapse.chosen_metrics is loaded. All would take 20 ms of each process.
PATH = "/_synapse/metrics?" + "&".join(f"name[]={n}" for n in (POSITION, WORKING, MOST, MEMORY))
LINE = re.compile(
    rf"^({POSITION}|{WORKING}|{MOST}|{MEMORY})\{{([^}}\n]*)\}} ([-+.\deE]+)$", re.MULTILINE
)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class Chosen:
    """The numbers of one process. `memory` is in bytes by its kind.

    `connections` are those to PostgreSQL that are in use, of `most`.
    """

    positions: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    connections: float | None = None
    most: float | None = None


def read(text: str) -> Chosen:
    """Read the numbers in a text of metrics."""
    found = Chosen()
    for name, labels, number in LINE.findall(text):
        own = dict(LABEL.findall(labels))
        value = float(number)
        if name == POSITION and "stream_name" in own:
            # A process that writes has a label for each writer.
            stream = own["stream_name"]
            found.positions[stream] = max(value, found.positions.get(stream, value))
        elif name == MEMORY and "kind" in own:
            found.memory[own["kind"]] = value
        elif own.get("name", "").startswith("database-"):
            if name == WORKING:
                found.connections = value + (found.connections or 0)
            elif name == MOST:
                found.most = value + (found.most or 0)
    return found


def ask(topology: Topology) -> Mapping[str, Chosen]:
    """Ask each process of this container. Those that do not answer are missing."""
    found: dict[str, Chosen] = {}

    def take(name: str, text: bytes) -> None:
        found[name] = read(text.decode("utf-8", "replace"))

    gather({item.name: item.metrics for item in topology.here}, WITHIN, take, PATH)
    return found
