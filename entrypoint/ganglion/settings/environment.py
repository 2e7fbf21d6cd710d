"""An environment → Settings, or every problem in it."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.settings import parsers, test_mode
from ganglion.settings.synapse_image import CACHE_FACTOR_OF, COMPLEMENT, OTHERS_BY_NAME
from ganglion.settings.test_mode import Look
from ganglion.settings.variable import Variable
from ganglion.settings.variables import Settings, variables

# Every variable that starts like this is ours, so one that is not in the table is a mistake.
OUR_PREFIXES = ("GANGLION_", "SYNAPSE_", "POSTGRES_", "REDIS_")
# Kubernetes adds these to every pod for each service it knows: NAME_SERVICE_HOST, NAME_PORT_…
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)$")
# How alike an unknown name outside our prefixes must be before it is called a misspelling.
# At 0.9 WORKER and WORKERZ are caught, HTTP_PROXY is not taken for HTTP_PORT.
MISSPELT = 0.9


def nothing(_path: str) -> bool:
    """Looks where there is nothing."""
    return False


def from_environ(
    environ: Mapping[str, str], read_file: Callable[[str], str], look: Look = nothing
) -> Settings:
    """What read() makes of an environment. Raises ConfigError with every problem found."""
    settings, problems = read(environ, read_file, look)
    if problems:
        raise ConfigError(problems)
    return settings


def read(
    environ: Mapping[str, str], read_file: Callable[[str], str], look: Look = nothing
) -> tuple[Settings, tuple[Problem, ...]]:
    """Read every variable out of `environ`; a secret's NAME_FILE is read with `read_file`, and
    `look` tells whether something is at a path: what switches test mode on.

    An empty variable counts as not set, as compose files pass unset ones on so. One that cannot
    be used has a problem and its default, so that later stages can tell their problems as well.
    """
    testing = test_mode.wanted(
        environ.get("GANGLION_TEST_MODE", "").strip(),
        environ.get("GANGLION_COMPLEMENT", "").strip(),
        COMPLEMENT,
        look,
    )
    problems: list[Problem] = [*_unknown(environ), *_others(environ)]
    values: dict[str, Any] = {}
    given: set[str] = set()
    unusable: set[str] = set()
    for field_name, variable in variables():
        try:
            text = _text(variable, environ, read_file, testing=testing)
            if text is None:
                continue
            if variable.of_tests and not testing:
                raise ConfigError([_not_testing(variable.name, text)])  # noqa: TRY301
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
        repeats_add_up=bool(environ.get("SYNAPSE_WORKER_TYPES", "").strip()),
    )
    settings = test_mode.settle(settings, look)
    # What follows from a mistake already told is no news.
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
    """The text of one variable under any of its names, or None where it is not set."""
    names = (*variable.names, *(variable.aliases_of_tests if testing else ()))
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
                    message=f"is set, and so is {from_file}",
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
                    message="are two names of one variable, set to different values",
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
        reason, message = error, "does not hold text"
    raise ConfigError(
        [
            Problem(
                variable=variable,
                value=path,
                message=message,
                hint="give the path of a readable file that holds the secret alone",
            )
        ]
    ) from reason


def _not_testing(name: str, text: str) -> Problem:
    return Problem(
        variable=name,
        value=text,
        message="is for test mode, which is off",
        hint="set GANGLION_TEST_MODE=yes for a server that is only for tests, else unset it",
    )


def _others(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Variables of Synapse's images that ask for what cannot be."""
    for name, other in OTHERS_BY_NAME.items():
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
    """What is to be known of variables that are right, but do not do what they did elsewhere."""
    found = [
        f"{name} counts for nothing: {other.why}"
        for name, other in OTHERS_BY_NAME.items()
        if environ.get(name, "").strip() and not other.fix
    ]
    if settings.embedded_postgres and "POSTGRES_PASSWORD" in settings.given:
        found.append(
            "POSTGRES_PASSWORD without POSTGRES_HOST is the embedded server's; Synapse's own image"
            " would look for a server called db"
        )
    return tuple(found)


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    """A problem for each variable that is ours by its prefix, or nearly, but not in the table."""
    known: set[str] = set(OTHERS_BY_NAME)
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
                message="is not a variable of Ganglion: only a secret can come from a file",
                hint=f"set {stem} itself",
            )
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


def _is_cache_factor(name: str) -> bool:
    """Whether Synapse reads the variable itself, for one of its many caches."""
    return name.startswith(CACHE_FACTOR_OF) and not name.endswith("_FILE")


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes added the variable for a service, which may be called as we are."""
    plain = name.endswith("_PORT") and value.startswith(("tcp://", "udp://"))
    return plain or SERVICE_LINK.search(name) is not None


# A problem between variables, and which.
Contradiction = tuple[tuple[str, ...], Problem]


def _contradictions(settings: Settings) -> Iterator[Contradiction]:
    """Problems between variables that are each right by themselves."""
    yield from _half_a_certificate(settings)
    yield from _half_a_server(settings)
    yield from _same_ports(settings)
    yield from _no_certificate(settings)
    yield from test_mode.contradictions(settings)
    least, most = settings.postgres_cp_min, settings.postgres_cp_max
    if least is not None and most is not None and least > most:
        yield (
            ("POSTGRES_CP_MIN", "POSTGRES_CP_MAX"),
            Problem(
                variable="POSTGRES_CP_MIN",
                value=str(least),
                message=f"is more than POSTGRES_CP_MAX, {most}",
                hint="lower POSTGRES_CP_MIN or raise POSTGRES_CP_MAX",
            ),
        )


def _half_a_certificate(settings: Settings) -> Iterator[Contradiction]:
    if (settings.tls_cert is None) == (settings.tls_key is None):
        return
    there, missing = "SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"
    if settings.tls_cert is None:
        there, missing = missing, there
    yield (
        (there, missing),
        Problem(
            variable=there,
            value=settings.tls_cert or settings.tls_key,
            message=f"is set without {missing}",
            hint=f"set {missing} too, or neither",
        ),
    )


def _no_certificate(settings: Settings) -> Iterator[Contradiction]:
    if settings.no_tls is False and settings.tls_cert is None and settings.tls_key is None:
        yield (
            ("SYNAPSE_NO_TLS", "SYNAPSE_TLS_CERT", "SYNAPSE_TLS_KEY"),
            Problem(
                variable="SYNAPSE_NO_TLS",
                value="no",
                message="asks for HTTPS without a certificate",
                hint="set SYNAPSE_TLS_CERT and SYNAPSE_TLS_KEY, or unset SYNAPSE_NO_TLS",
            ),
        )


def _half_a_server(settings: Settings) -> Iterator[Contradiction]:
    """What is said of an external server where none is, and the other way round."""
    for prefix, host in (("POSTGRES", settings.postgres_host), ("REDIS", settings.redis_host)):
        external_only = {f"{prefix}_{end}" for end in ("PORT", "SSLMODE", "TLS", "DBID")}
        for name in sorted(external_only & settings.given if host is None else ()):
            yield (
                (name, f"{prefix}_HOST"),
                Problem(
                    variable=name,
                    value=None,
                    message=f"means nothing without {prefix}_HOST: the server is embedded",
                    hint=f"set {prefix}_HOST for an external server, or unset {name}",
                ),
            )
    host = settings.postgres_host
    if host and not host.startswith("/") and "POSTGRES_PASSWORD" not in settings.given:
        yield (
            ("POSTGRES_HOST", "POSTGRES_PASSWORD"),
            Problem(
                variable="POSTGRES_HOST",
                value=host,
                message="is set without a password for its user",
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
                        hint="give each its own port",
                    ),
                )
