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

# The encryption of replication, as variable and field: certificate, key, authorities.
REPLICATION = {
    "GANGLION_REPLICATION_CERT": "replication_cert",
    "GANGLION_REPLICATION_KEY": "replication_key",
    "GANGLION_REPLICATION_CA": "replication_ca",
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
        yield from _unused(settings)
        return
    yield from _incomplete(settings)
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


def _of_replication(settings: Settings) -> tuple[str, ...]:
    """Return the variables that are set of those that encrypt replication."""
    return tuple(name for name, field in REPLICATION.items() if getattr(settings, field))


def _unused(settings: Settings) -> Iterator[Problem]:
    for name in _of_replication(settings):
        yield Problem(
            variable=name,
            value=None,
            message="has no effect without GANGLION_ONLY: all processes run here",
            hint=f"set GANGLION_ONLY, or unset {name}",
        )


def _incomplete(settings: Settings) -> Iterator[Problem]:
    given = _of_replication(settings)
    pair = tuple(REPLICATION)[:2]
    for name in pair:
        if given and name not in given:
            yield Problem(
                variable=name,
                value=None,
                message=f"is not set, and {given[0]} is",
                hint=f"set {' and '.join(pair)} in every container, or neither",
            )


def _without(settings: Settings, variable: str, server: str) -> Problem:
    return Problem(
        variable="GANGLION_ONLY",
        value=", ".join(settings.only),
        message=f"needs {server} outside of this container, for all containers together",
        hint=f"set {variable} to the same server in every container",
    )
