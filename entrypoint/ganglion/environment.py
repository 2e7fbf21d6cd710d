"""An environment → Settings, or every problem in it."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ganglion import parse
from ganglion.errors import ConfigError, Problem
from ganglion.settings import Settings, Variable, variables

# Every variable that starts like this is ours, so one that is not in the table is a mistake.
OUR_PREFIXES = ("GANGLION_", "SYNAPSE_", "POSTGRES_", "REDIS_")
# Kubernetes adds these to every pod for each service it knows: NAME_SERVICE_HOST, NAME_PORT_…
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)$")
# How alike an unknown name outside our prefixes must be before it is called a misspelling.
# At 0.9 WORKER and WORKERZ are caught, HTTP_PROXY is not taken for HTTP_PORT.
MISSPELT = 0.9


def from_environ(environ: Mapping[str, str], read_file: Callable[[str], str]) -> Settings:
    """Read every variable out of `environ`; a secret's NAME_FILE is read with `read_file`.

    An empty variable counts as not set, as compose files pass unset ones on so.

    Raises ConfigError with every problem found.
    """
    problems: list[Problem] = list(_unknown(environ))
    values: dict[str, Any] = {}
    given: set[str] = set()
    for field_name, variable in variables():
        try:
            text = _text(variable, environ, read_file)
            if text is None:
                continue
            given.add(variable.name)
            values[field_name] = variable.parse(text)
        except ConfigError as error:
            problems.extend(error.problems)
        except parse.Invalid as invalid:
            problems.append(
                Problem(
                    variable=variable.name,
                    value=None if variable.secret else text,
                    message=invalid.message,
                    hint=invalid.hint,
                )
            )
    settings = Settings(
        **values,
        given=frozenset(given),
        repeats_add_up=bool(environ.get("SYNAPSE_WORKER_TYPES")),
    )
    problems.extend(_contradictions(settings))
    if problems:
        raise ConfigError(problems)
    return settings


def _text(
    variable: Variable, environ: Mapping[str, str], read_file: Callable[[str], str]
) -> str | None:
    """The text of one variable under any of its names, or None where it is not set."""
    found = {name: environ[name].strip() for name in variable.names if environ.get(name)}
    found = {name: text for name, text in found.items() if text}
    from_file = f"{variable.name}_FILE"
    path = environ.get(from_file) if variable.secret else None
    if path and found:
        raise ConfigError(
            [
                Problem(
                    variable=variable.name,
                    value=None,
                    message=f"is set, and so is {from_file}",
                    hint=f"set only one of {variable.name} and {from_file}",
                )
            ]
        )
    if path:
        try:
            return read_file(path).strip()
        except OSError as error:
            raise ConfigError(
                [
                    Problem(
                        variable=from_file,
                        value=path,
                        message=f"cannot be read: {error.strerror}",
                        hint="give the path of a readable file that holds the secret alone",
                    )
                ]
            ) from error
    if len(set(found.values())) > 1:
        raise ConfigError(
            [
                Problem(
                    variable=" and ".join(found),
                    value=None,
                    message="are two names of one variable, set to different values",
                    hint=f"set only {variable.name}",
                )
            ]
        )
    return next(iter(found.values()), None)


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    """A problem for each variable that is ours by its prefix, or nearly, but not in the table."""
    known: set[str] = set()
    for _, variable in variables():
        known.update(variable.names)
        if variable.secret:
            known.add(f"{variable.name}_FILE")
    for name in sorted(environ):
        if name in known or SERVICE_LINK.search(name):
            continue
        ours = name.startswith(OUR_PREFIXES)
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6 if ours else MISSPELT)
        if ours or near:
            yield Problem(
                variable=name,
                value=None,
                message="is not a variable of Ganglion",
                hint=f"did you mean {near[0]}?"
                if near
                else "see docs/variables.md for all of them",
            )


def _contradictions(settings: Settings) -> Iterator[Problem]:
    """Problems between variables that are each right by themselves."""
    yield from _half_a_certificate(settings)
    yield from _half_a_server(settings)
    yield from _same_ports(settings)
    if settings.postgres_cp_min > settings.postgres_cp_max:
        yield Problem(
            variable="POSTGRES_CP_MIN",
            value=str(settings.postgres_cp_min),
            message=f"is more than POSTGRES_CP_MAX, {settings.postgres_cp_max}",
            hint="lower POSTGRES_CP_MIN or raise POSTGRES_CP_MAX",
        )


def _half_a_certificate(settings: Settings) -> Iterator[Problem]:
    if (settings.tls_cert is None) == (settings.tls_key is None):
        return
    there, missing = "SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"
    if settings.tls_cert is None:
        there, missing = missing, there
    yield Problem(
        variable=there,
        value=settings.tls_cert or settings.tls_key,
        message=f"is set without {missing}",
        hint=f"set {missing} too, or neither",
    )


def _half_a_server(settings: Settings) -> Iterator[Problem]:
    """What is said of an external server where none is, and the other way round."""
    for prefix, host in (("POSTGRES", settings.postgres_host), ("REDIS", settings.redis_host)):
        external_only = {f"{prefix}_{end}" for end in ("PORT", "SSLMODE", "TLS", "DBID")}
        for name in sorted(external_only & settings.given if host is None else ()):
            yield Problem(
                variable=name,
                value=None,
                message=f"means nothing without {prefix}_HOST: the server is embedded",
                hint=f"set {prefix}_HOST for an external server, or unset {name}",
            )
    host = settings.postgres_host
    if host and not host.startswith("/") and "POSTGRES_PASSWORD" not in settings.given:
        yield Problem(
            variable="POSTGRES_HOST",
            value=host,
            message="is set without a password for its user",
            hint="set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE",
        )


def _same_ports(settings: Settings) -> Iterator[Problem]:
    ports = {"HTTP_PORT": settings.http_port}
    if settings.tls:
        ports["FEDERATION_PORT"] = settings.federation_port
    if settings.enable_metrics:
        ports["CONTROL_PORT"] = settings.control_port
    names = list(ports)
    for index, name in enumerate(names):
        for other in names[:index]:
            if ports[other] == ports[name]:
                yield Problem(
                    variable=name,
                    value=str(ports[name]),
                    message=f"is the same port as {other}",
                    hint="give each its own port",
                )
