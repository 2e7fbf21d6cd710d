"""Adopt into the settings the values of the operator's files that Ganglion itself must know.

The files have the last word where a variable and a file set the same option of Synapse. Where the
variable is about a server beside Synapse (POSTGRES_*, REDIS_*), the variable has it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.settings import (
    existing_database,
    existing_redis,
    operator_listeners,
    owned_options,
    parsers,
)
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from ganglion.settings.variables import variables as table

# https://www.postgresql.org/docs/current/sql-createrole.html
RESERVED_ROLES = frozenset({"public", "none", "current_role", "current_user", "session_user"})
# Those that initdb makes, and that of a test server's reset.
RESERVED_DATABASES = frozenset({"postgres", "template0", "template1", "ganglion_clean"})
# The loopback ports of the processes: three for main and each of at most 200 workers.
INTERNAL_PORTS = 3 * 201
# The options that a variable comes to, by the field that holds the variable's value. An option's
# `_path` form counts too.
OPTIONS_OF = {
    "report_stats": "report_stats",
    "public_baseurl": "public_baseurl",
    "max_upload_size": "max_upload_size",
    "enable_registration": "enable_registration",
    "allow_guests": "allow_guest_access",
    "turn_uris": "turn_uris",
    "turn_shared_secret": "turn_shared_secret",
    "recaptcha_public_key": "recaptcha_public_key",
    "recaptcha_private_key": "recaptcha_private_key",
    "macaroon_secret_key": "macaroon_secret_key",
    "form_secret": "form_secret",
    "registration_shared_secret": "registration_shared_secret",
    "worker_replication_secret": "worker_replication_secret",
    "signing_key": "signing_key",
    "enable_metrics": "enable_metrics",
    "cache_factor": "caches",
    "event_cache_size": "event_cache_size",
    "http_proxy": "http_proxy",
    "https_proxy": "https_proxy",
    "no_proxy": "no_proxy_hosts",
}


def adopt(settings: Settings, operator: OperatorFiles) -> Settings:
    """Return the settings with what the files say. Raises ConfigError with every problem."""
    problems: list[Problem] = []
    metrics = operator.options.get("enable_metrics")
    if isinstance(metrics, bool):
        if "SYNAPSE_ENABLE_METRICS" in settings.given and metrics != settings.enable_metrics:
            settings = replace(settings, overridden=("SYNAPSE_ENABLE_METRICS",))
        settings = replace(settings, enable_metrics=metrics)
    elif metrics is not None:
        problems.append(
            Problem(
                variable=operator.sources.get("enable_metrics", "your files"),
                value=None,
                message=f"sets enable_metrics to {metrics!r}",
                hint="write true or false",
            )
        )
    for step in (existing_database.adopt, existing_redis.adopt):
        try:
            settings = step(settings, operator)
        except ConfigError as error:
            problems.extend(error.problems)
    taken = dict(settings.public_ports)
    if not settings.unix_sockets:
        base = settings.internal_port_base
        taken |= {f"INTERNAL_PORT_BASE+{n}": base + n for n in range(INTERNAL_PORTS)}
    problems.extend(_reserved(settings))
    problems.extend(operator_listeners.problems(operator.options, operator.sources, taken))
    if problems:
        raise ConfigError(problems)
    return settings


def _reserved(settings: Settings) -> Iterator[Problem]:
    """Yield names that the embedded server cannot give to Synapse."""
    if not settings.embedded_postgres:
        return
    role = settings.postgres_user
    if role.startswith("pg_") or role in RESERVED_ROLES:
        yield Problem(
            variable="POSTGRES_USER",
            value=role,
            message="is a name that PostgreSQL reserves",
            hint="use another, such as synapse",
        )
    if settings.postgres_db in RESERVED_DATABASES:
        yield Problem(
            variable="POSTGRES_DB",
            value=settings.postgres_db,
            message="is a database of its own in the embedded PostgreSQL server",
            hint="use another, such as synapse",
        )


def notes(
    settings: Settings, operator: OperatorFiles, overrides: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return a note for each key of the files, and each variable, that does not do what it says.

    `overrides` is what overrides.yaml sets.
    """
    options, sources = operator.options, operator.sources
    return (
        *existing_database.notes(settings, operator),
        *existing_redis.notes(settings, operator),
        *operator_listeners.notes(options, sources),
        *owned_options.notes(options, sources, overrides),
        *_metrics(settings, operator),
        *_overridden(settings, operator),
    )


def _metrics(settings: Settings, operator: OperatorFiles) -> Iterator[str]:
    if settings.enable_metrics and "SYNAPSE_ENABLE_METRICS" not in settings.given:
        where = operator.sources.get("enable_metrics", "your files")
        yield (
            f"{where}: enable_metrics opens CONTROL_PORT, {settings.control_port}, with"
            " /metrics/NAME of each process; keep it from the public"
        )


def _overridden(settings: Settings, operator: OperatorFiles) -> Iterator[str]:
    """Yield each variable that the files override with another value."""
    names = {field: variable.name for field, variable in table()}
    for field, option in OPTIONS_OF.items():
        if names[field] not in settings.given:
            continue
        for form in (option, f"{option}_path"):
            if form not in operator.options:
                continue
            same = _is_same(getattr(settings, field), operator.options[form], form)
            if not same or names[field] in settings.overridden:
                where = operator.sources.get(form, "your files")
                yield f"{names[field]} has no effect: {where} sets {form}"


def _is_same(given: Any, value: Any, option: str) -> bool:  # noqa: ANN401 - of many types
    """Return whether an option of the files has the effect that the variable has."""
    if option == "caches":
        # Synapse reads the variable too, where its files do not say.
        return not isinstance(value, Mapping) or value.get("global_factor", given) == given
    if option == "max_upload_size":
        try:
            return bool(given == parsers.size(str(value)))
        except parsers.Invalid:
            return False
    if option == "public_baseurl":
        return str(given).rstrip("/") == str(value).rstrip("/")
    return bool(given == (tuple(value) if isinstance(value, list) else value))
