"""The TLS certificate: the operator's, or one that Complement's authority signs."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

from ganglion.data.identity import server_name
from ganglion.errors import ConfigError, Problem
from ganglion.settings import test_mode
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import LARGEST_FILE, read_bytes
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

# Let's Encrypt's certificates are renewed 30 days before their end, or at a third of their life.
DAYS_TO_RENEW = 14
FIELDS = {"SYNAPSE_TLS_CERT": "tls_cert", "SYNAPSE_TLS_KEY": "tls_key"}


def check(settings: Settings, now: dt.datetime) -> None:
    """Check the operator's certificate and key: both readable, fitting together, valid `now`.

    Raises ConfigError.
    """
    if test_mode.makes_certificate(settings):
        return
    texts: dict[str, bytes] = {}
    problems: list[Problem] = []
    paths: dict[str, str | None] = {name: getattr(settings, item) for name, item in FIELDS.items()}
    for name, path in paths.items():
        if path is None:
            continue
        try:
            texts[name] = read_bytes(path, LARGEST_FILE)
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            hint = "give the path of a PEM file; in a container, mount it there"
            problems.append(Problem(variable=name, value=path, message=message, hint=hint))
    if len(texts) == len(FIELDS):
        # cryptography takes its time to import; only a server with TLS spends it.
        from ganglion.data import certificate_check  # noqa: PLC0415

        problems += [
            Problem(variable=name, value=paths[name], message=message, hint=hint)
            for name, message, hint in certificate_check.faults(
                texts["SYNAPSE_TLS_CERT"], texts["SYNAPSE_TLS_KEY"], now
            )
        ]
    if problems:
        raise ConfigError(problems)


def check_replication(settings: Settings, topology: Topology, now: dt.datetime) -> None:
    """Check what encrypts replication between containers. Raises ConfigError."""
    problems = [
        Problem(variable=name, value=None, message=message, hint=hint)
        for name, message, hint in faults_of_replication(settings, topology, now)
    ]
    if problems:
        raise ConfigError(problems)


def faults_of_replication(
    settings: Settings, topology: Topology, now: dt.datetime
) -> tuple[tuple[str, str, str], ...]:
    """Return the faults of what encrypts replication, as variable, message and fix."""
    if settings.replication_cert is None or settings.replication_key is None:
        return ()
    from ganglion.data import certificate_check  # noqa: PLC0415 - as above

    hosts = {
        process.replication.host: None
        for process in topology.here
        if process.replication is not None
    }
    authorities = settings.replication_ca
    return tuple(
        certificate_check.faults_of_replication(
            settings.replication_cert.encode(),
            settings.replication_key.encode(),
            None if authorities is None else authorities.encode(),
            hosts,
            now,
        )
    )


def ensure(settings: Settings, operator: OperatorFiles, say: Callable[[str], None]) -> None:
    """Make a certificate if Complement's authority is to sign one. Raises ConfigError."""
    if not test_mode.makes_certificate(settings):
        return
    # cryptography takes its time to import; only a test server spends it.
    from ganglion.data import complement_certificate  # noqa: PLC0415

    name = server_name(settings, operator)
    directory = Path(settings.paths.complement_certificates)
    authority = Path(settings.authority or "")
    if complement_certificate.ensure(directory, authority, name, dt.datetime.now(dt.UTC)):
        say(f"made a certificate for {name}, signed by {settings.authority}/ca.crt")
