"""Topology → how much of everything each process may take."""

from dataclasses import dataclass

from ganglion.settings import Settings
from ganglion.topology import Topology

# superuser_reserved_connections, and some for pg_dump, psql and the readiness check.
SPARE_CONNECTIONS = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Connections to PostgreSQL: each process's pool, and the limit of the embedded server."""

    pool_min: int
    pool_max: int
    max_connections: int


def share_out(settings: Settings, topology: Topology) -> Budget:
    """The budget in which every process can fill its pool and some connections are left."""
    return Budget(
        pool_min=settings.postgres_cp_min,
        pool_max=settings.postgres_cp_max,
        max_connections=len(topology.processes) * settings.postgres_cp_max + SPARE_CONNECTIONS,
    )
