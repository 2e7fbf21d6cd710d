"""The things that several containers of one server cannot share, or lack: all at once."""

from collections.abc import Iterator

from ganglion.errors import Problem
from ganglion.settings.variables import Settings

# Synapse's processes use these together: one checks what another signed. So no container may make
# its own. Each is the name of its option and of its field in Settings.
SHARED_SECRETS = {
    "worker_replication_secret": "SYNAPSE_WORKER_REPLICATION_SECRET",
    "macaroon_secret_key": "SYNAPSE_MACAROON_SECRET_KEY",
    "form_secret": "SYNAPSE_FORM_SECRET",
    "signing_key": "SYNAPSE_SIGNING_KEY",
}


def problems(settings: Settings, options: frozenset[str]) -> Iterator[Problem]:
    """Yield everything that several containers cannot share, or lack.

    `options` are those of the operator's files.
    """
    if not settings.only:
        if settings.hosts:
            yield Problem(
                variable="GANGLION_HOSTS",
                value=None,
                message="has no effect without GANGLION_ONLY: all processes run here",
                hint="set GANGLION_ONLY, or unset GANGLION_HOSTS",
            )
        return
    if settings.uses_stores and not settings.external_postgres:
        yield _without(settings, "POSTGRES_HOST", "PostgreSQL")
    if settings.embedded_redis:
        yield _without(settings, "REDIS_HOST", "Redis")
    if not settings.database_lock:
        yield Problem(
            variable="GANGLION_DATABASE_LOCK",
            value="no",
            message="would let two containers run the same writer, which corrupts the database",
            hint="unset it, and connect to PostgreSQL without a pooler",
        )
    if settings.test_mode:
        yield Problem(
            variable="GANGLION_TEST_MODE",
            value="yes",
            message="works in one container only: a reset has to reach every process",
            hint="unset GANGLION_TEST_MODE, or GANGLION_ONLY",
        )
    if not settings.uses_stores:
        return
    for name, variable in SHARED_SECRETS.items():
        if getattr(settings, name) is None and not {name, f"{name}_path"} & options:
            yield Problem(
                variable=variable,
                value=None,
                message="is not set, and all containers must have the same",
                hint=f"set {variable} or {variable}_FILE to the same in every container",
            )


def _without(settings: Settings, variable: str, server: str) -> Problem:
    return Problem(
        variable="GANGLION_ONLY",
        value=", ".join(settings.only),
        message=f"needs {server} outside of this container, for all containers together",
        hint=f"set {variable} to the same server in every container",
    )
