"""The TLS certificate: the operator's, or one that Complement's authority signs."""

from collections.abc import Callable
from pathlib import Path

from ganglion.data.identity import server_name
from ganglion.errors import ConfigError, Problem
from ganglion.settings import test_mode
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings


def check(settings: Settings) -> None:
    """Check the operator's certificate and key. Raises ConfigError."""
    if test_mode.own_certificate(settings):
        return
    paths = (("SYNAPSE_TLS_CERT", settings.tls_cert), ("SYNAPSE_TLS_KEY", settings.tls_key))
    problems = [
        Problem(
            variable=name,
            value=path,
            message="is not a file that can be read",
            hint="give the path of a PEM file; in a container, mount it there",
        )
        for name, path in paths
        if path is not None and not Path(path).is_file()
    ]
    if problems:
        raise ConfigError(problems)


def ensure(settings: Settings, operator: OperatorFiles, say: Callable[[str], None]) -> None:
    """Make a certificate if Complement's authority is to sign one. Raises ConfigError."""
    if not test_mode.own_certificate(settings):
        return
    # cryptography takes its time to import; only a test server spends it.
    from ganglion.data import complement_certificate  # noqa: PLC0415

    name = server_name(settings, operator)
    directory = Path(settings.paths.complement_certificates)
    if complement_certificate.ensure(directory, Path(settings.authority or ""), name):
        say(f"made a certificate for {name}, signed by {settings.authority}/ca.crt")
