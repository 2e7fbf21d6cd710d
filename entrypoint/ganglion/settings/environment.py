"""Read the environment into Settings, and collect every problem in it."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.settings import client_addresses, parsers, test_mode
from ganglion.settings.synapse_image import CACHE_FACTOR_PREFIX, COMPLEMENT, UNSUPPORTED_BY_NAME
from ganglion.settings.test_mode import Exists
from ganglion.settings.variable import Variable
from ganglion.settings.variables import Settings, variables

# Variables with these prefixes are Ganglion's, so one that is not in the table is a mistake.
OUR_PREFIXES = ("GANGLION_", "SYNAPSE_", "POSTGRES_", "REDIS_")
# Kubernetes adds these variables to every pod for each service: NAME_SERVICE_HOST, NAME_PORT_…
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)$")
# How similar an unknown name without such a prefix must be to count as a misspelling. At 0.9,
# WORKER and WORKERZ are reported, and HTTP_PROXY is not mistaken for HTTP_PORT.
MISSPELT = 0.9


def nothing_exists(_path: str) -> bool:
    """Stand in for a file system without files."""
    return False


def from_environ(
    environ: Mapping[str, str], read_file: Callable[[str], str], exists: Exists = nothing_exists
) -> Settings:
    """Read the environment as read() does. Raises ConfigError with every problem found."""
    settings, problems = read(environ, read_file, exists)
    if problems:
        raise ConfigError(problems)
    return settings


def read(
    environ: Mapping[str, str], read_file: Callable[[str], str], exists: Exists = nothing_exists
) -> tuple[Settings, tuple[Problem, ...]]:
    """Read every variable from `environ`, and return the problems found.

    `read_file` reads the file that a secret's NAME_FILE names; it may raise OSError or ValueError.
    `exists` tells whether there is something at a path; test mode depends on it.

    An empty variable is treated as unset, because compose files pass unset variables as empty ones.
    A variable with a problem keeps its default, so that later stages can report their problems too.
    """
    testing = test_mode.is_requested(
        environ.get("GANGLION_TEST_MODE", "").strip(),
        environ.get("GANGLION_COMPLEMENT", "").strip(),
        COMPLEMENT,
        exists,
    )
    problems: list[Problem] = [*_unknown(environ), *_unsupported(environ)]
    values: dict[str, Any] = {}
    given: set[str] = set()
    unusable: set[str] = set()
    for field_name, variable in variables():
        try:
            text = _text(variable, environ, read_file, testing=testing)
            if text is None:
                continue
            if variable.test_mode_only and not testing:
                raise ConfigError([_test_mode_only(variable.name, text)])  # noqa: TRY301
            values[field_name] = variable.parse(text)
            given.add(variable.name)
        except ConfigError as error:
            unusable.add(variable.name)
            problems.extend(error.problems)
        except parsers.Invalid as invalid:
            unusable.add(variable.name)
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
        secret_files=tuple(_secret_files(environ)),
        repeats_add_up=bool(environ.get("SYNAPSE_WORKER_TYPES", "").strip()),
    )
    settings = test_mode.apply(settings, exists)
    # Do not report the consequences of a mistake that is reported already.
    problems.extend(
        problem for names, problem in _contradictions(settings) if not unusable.intersection(names)
    )
    return settings, tuple(problems)


def _text(
    variable: Variable,
    environ: Mapping[str, str],
    read_file: Callable[[str], str],
    *,
    testing: bool,
) -> str | None:
    """Return the text of one variable under any of its names, or None if it is not set."""
    names = (*variable.names, *(variable.test_mode_aliases if testing else ()))
    found = {name: environ[name].strip() for name in names if environ.get(name)}
    found = {name: text for name, text in found.items() if text}
    from_file = f"{variable.name}_FILE"
    path = environ.get(from_file) if variable.secret else None
    if path and found:
        raise ConfigError(
            [
                Problem(
                    variable=variable.name,
                    value=None,
                    message=f"is set together with {from_file}",
                    hint=f"set only one of {variable.name} and {from_file}",
                )
            ]
        )
    if path:
        return _secret_file(from_file, path, read_file)
    if len(set(found.values())) > 1:
        raise ConfigError(
            [
                Problem(
                    variable=" and ".join(found),
                    value=None,
                    message="are names of the same variable but have different values",
                    hint=f"set only {variable.name}",
                )
            ]
        )
    return next(iter(found.values()), None)


def _secret_file(variable: str, path: str, read_file: Callable[[str], str]) -> str:
    reason: Exception | None = None
    try:
        text = read_file(path).strip()
        if text:
            return text
        message = "is empty"
    except OSError as error:
        reason, message = error, f"cannot be read: {error.strerror}"
    except ValueError as error:
        reason, message = error, "is not a text file"
    raise ConfigError(
        [
            Problem(
                variable=variable,
                value=path,
                message=message,
                hint="give the path of a readable file that contains only the secret",
            )
        ]
    ) from reason


def _secret_files(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each secret that a file gives: the name of its variable, and the path."""
    for _, variable in variables():
        path = environ.get(f"{variable.name}_FILE") if variable.secret else None
        if path:
            yield variable.name, path


def _test_mode_only(name: str, text: str) -> Problem:
    return Problem(
        variable=name,
        value=text,
        message="is allowed in test mode only",
        hint=f"unset {name}; or, on a test server, set GANGLION_TEST_MODE=yes",
    )


def _unsupported(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield problems of variables of Synapse's images that Ganglion cannot honour."""
    for name, other in UNSUPPORTED_BY_NAME.items():
        text = environ.get(name, "").strip()
        if text and other.fix and text != other.harmless:
            yield Problem(variable=name, value=None, message=other.why, hint=other.fix)
    for name in sorted(environ):
        if _is_cache_factor(name) and environ[name].strip():
            try:
                parsers.factor(environ[name].strip())
            except parsers.Invalid as invalid:
                yield Problem(
                    variable=name, value=environ[name], message=invalid.message, hint=invalid.hint
                )


def notes(environ: Mapping[str, str], settings: Settings) -> tuple[str, ...]:
    """Return notes on valid variables that may not do what the operator expects."""
    found = [
        f"{name} is ignored: {other.why}"
        for name, other in UNSUPPORTED_BY_NAME.items()
        if environ.get(name, "").strip() and not other.fix
    ]
    if settings.embedded_postgres and "POSTGRES_PASSWORD" in settings.given:
        found.append(
            "POSTGRES_PASSWORD is the password of the embedded server, because POSTGRES_HOST is not"
            " set; Synapse's own image would connect to a server named db"
        )
    if settings.switch_test_mode is not None:
        found.append(
            f"GANGLION_SWITCH_TEST_MODE lets the data of {settings.switch_test_mode} start in and"
            " out of test mode: unset it after this start"
        )
    found.extend(_control_port(settings))
    return (*found, *client_addresses.notes(settings))


def _control_port(settings: Settings) -> Iterator[str]:
    """Yield where the control port listens, if it is open."""
    loopback = settings.control_bind_address
    quiet = loopback != "*" and ip_address(loopback).is_loopback
    noisy = settings.test_mode or settings.enable_metrics or not quiet
    if "CONTROL_PORT" not in settings.public_ports or not noisy:
        return
    address, port = settings.control_bind_address, settings.control_port
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    contents = [
        *(["the test controls"] if settings.test_mode else []),
        *(["the metrics"] if settings.enable_metrics else []),
    ] or ["the control application's answers"]
    reach = "keep them from the public"
    if address == "*":
        where = f"port {port} of every address"
    elif ip_address(address).is_loopback:
        reach = (
            "only this machine or container reaches them. To publish the port of a container, set"
            " CONTROL_BIND_ADDRESS=* and publish it on a private address, as in"
            f" docker run -p 127.0.0.1:{port}:{port}"
        )
    yield f"{' and '.join(contents)} are at {where}; {reach}"


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each variable that looks like Ganglion's but is not in the table."""
    known: set[str] = set(UNSUPPORTED_BY_NAME)
    for _, variable in variables():
        known.update(variable.names)
        if variable.secret:
            known.add(f"{variable.name}_FILE")
    for name in sorted(environ):
        ignored = _is_cache_factor(name) or _is_service_link(name, environ[name])
        if name in known or ignored:
            continue
        stem = name.removesuffix("_FILE")
        if stem != name and stem in known:
            yield Problem(
                variable=name,
                value=None,
                message="unknown variable: only a secret can come from a file",
                hint=f"set {stem} itself",
            )
            continue
        ours = name.startswith(OUR_PREFIXES)
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6 if ours else MISSPELT)
        if ours or near:
            yield Problem(
                variable=name,
                value=None,
                message="unknown variable",
                hint=f"did you mean {near[0]}?" if near else "see docs/variables.md for the list",
            )


def _is_cache_factor(name: str) -> bool:
    """Return whether Synapse reads the variable itself, as the factor of one cache."""
    return name.startswith(CACHE_FACTOR_PREFIX) and not name.endswith("_FILE")


def _is_service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes added the variable, for a service with one of our prefixes."""
    plain = name.endswith("_PORT") and value.startswith(("tcp://", "udp://"))
    return plain or SERVICE_LINK.search(name) is not None


# The names of variables that contradict each other, and the problem.
Contradiction = tuple[tuple[str, ...], Problem]


def _contradictions(settings: Settings) -> Iterator[Contradiction]:
    """Yield problems of variables that are each valid but contradict each other."""
    yield from _incomplete_certificate(settings)
    yield from _incomplete_server(settings)
    yield from _same_ports(settings)
    yield from _missing_certificate(settings)
    yield from _unused_token(settings)
    yield from test_mode.contradictions(settings)
    least, most = settings.postgres_cp_min, settings.postgres_cp_max
    if least is not None and most is not None and least > most:
        yield (
            ("POSTGRES_CP_MIN", "POSTGRES_CP_MAX"),
            Problem(
                variable="POSTGRES_CP_MIN",
                value=str(least),
                message=f"is greater than POSTGRES_CP_MAX ({most})",
                hint="lower POSTGRES_CP_MIN or raise POSTGRES_CP_MAX",
            ),
        )


def _incomplete_certificate(settings: Settings) -> Iterator[Contradiction]:
    if (settings.tls_cert is None) == (settings.tls_key is None):
        return
    given, missing = "SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"
    if settings.tls_cert is None:
        given, missing = missing, given
    yield (
        (given, missing),
        Problem(
            variable=given,
            value=settings.tls_cert or settings.tls_key,
            message=f"is set without {missing}",
            hint=f"set {missing} too, or neither",
        ),
    )


def _missing_certificate(settings: Settings) -> Iterator[Contradiction]:
    if settings.no_tls is False and settings.tls_cert is None and settings.tls_key is None:
        yield (
            ("SYNAPSE_NO_TLS", "SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"),
            Problem(
                variable="SYNAPSE_NO_TLS",
                value="no",
                message="requires HTTPS, but there is no certificate",
                hint="set SYNAPSE_TLS_CERT and SYNAPSE_TLS_KEY, or unset SYNAPSE_NO_TLS",
            ),
        )


def _unused_token(settings: Settings) -> Iterator[Contradiction]:
    """Yield a token without the application that compares it: the metrics would be open."""
    if settings.control_token is not None and not (settings.control or settings.test_mode):
        yield (
            ("CONTROL_TOKEN", "GANGLION_CONTROL"),
            Problem(
                variable="CONTROL_TOKEN",
                value=None,
                message="is set together with GANGLION_CONTROL=no, and nothing would check it",
                hint="unset one of the two",
            ),
        )


def _incomplete_server(settings: Settings) -> Iterator[Contradiction]:
    """Yield options of an external server without a host, and a host without a password."""
    for prefix, host in (("POSTGRES", settings.postgres_host), ("REDIS", settings.redis_host)):
        external_only = {f"{prefix}_{end}" for end in ("PORT", "SSLMODE", "TLS", "DBID")}
        for name in sorted(external_only & settings.given if host is None else ()):
            yield (
                (name, f"{prefix}_HOST"),
                Problem(
                    variable=name,
                    value=None,
                    message=f"has no effect without {prefix}_HOST: the server is embedded",
                    hint=f"set {prefix}_HOST to use an external server, or unset {name}",
                ),
            )
    host = settings.postgres_host if settings.uses_stores else None
    if host and not host.startswith("/") and "POSTGRES_PASSWORD" not in settings.given:
        yield (
            ("POSTGRES_HOST", "POSTGRES_PASSWORD"),
            Problem(
                variable="POSTGRES_HOST",
                value=host,
                message="is set without the password of the database user",
                hint="set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE",
            ),
        )


def _same_ports(settings: Settings) -> Iterator[Contradiction]:
    ports = settings.public_ports
    names = list(ports)
    for index, name in enumerate(names):
        for other in names[:index]:
            if ports[other] == ports[name]:
                yield (
                    (name, other),
                    Problem(
                        variable=name,
                        value=str(ports[name]),
                        message=f"is the same port as {other}",
                        hint="use a different port for each",
                    ),
                )
