"""A certificate for the server's name, signed by the authority that Complement brings.

This module is imported only where a certificate is made: `cryptography`, which comes with Synapse,
takes its time.
"""

import datetime as dt
import hashlib
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ganglion.errors import ConfigError, Problem
from ganglion.files.file import SECRET, File
from ganglion.files.write import write_directory

# Longer than any image is kept that a container with it was committed to.
LIFETIME = dt.timedelta(days=3650)
# Clocks of the machines that talk to each other differ.
BACKDATED = dt.timedelta(days=1)
MADE_FOR = "made-for"


def ensure(directory: Path, authority: Path, server_name: str) -> bool:
    """Make server.crt and server.key in `directory`, unless they fit the name and the authority.

    Returns whether they were made. `authority` is the directory with ca.crt and ca.key.

    Raises ConfigError where the authority cannot be used.
    """
    problems: list[Problem] = []
    texts: dict[str, bytes] = {}
    for end in ("crt", "key"):
        path = authority / f"ca.{end}"
        try:
            texts[end] = path.read_bytes()
        except OSError as error:
            problems.append(_problem(path, f"cannot be read: {error.strerror}"))
    if problems:
        raise ConfigError(problems)
    purpose = f"{server_name} {hashlib.sha256(texts['crt'] + texts['key']).hexdigest()}\n"
    wanted = (directory / MADE_FOR, directory / "server.crt", directory / "server.key")
    if all(path.is_file() for path in wanted) and wanted[0].read_text() == purpose:
        return False
    key, request, certificate = _issue(authority, texts, server_name)
    files = (
        File(path="server.key", content=key, mode=SECRET),
        File(path="server.csr", content=request),
        File(path="server.crt", content=certificate),
        File(path=MADE_FOR, content=purpose),
    )
    write_directory(directory, files, {})
    return True


def _issue(authority: Path, texts: dict[str, bytes], server_name: str) -> tuple[str, str, str]:
    """A new key, a request for it and the certificate, each as PEM."""
    try:
        issuer = x509.load_pem_x509_certificate(texts["crt"])
    except ValueError as error:
        raise ConfigError([_problem(authority / "ca.crt", "is no certificate in PEM")]) from error
    try:
        signer: Any = serialization.load_pem_private_key(texts["key"], password=None)
    except (ValueError, TypeError) as error:
        message = "is no private key in PEM without a password"
        raise ConfigError([_problem(authority / "ca.key", message)]) from error
    if signer.public_key() != issuer.public_key():
        raise ConfigError([_problem(authority / "ca.key", "is not the key of ca.crt")])
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(server_name))
        .add_extension(x509.SubjectAlternativeName([_name(server_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(issuer.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
        # Strict clients, such as Python from 3.13 on, want it to name its issuer's key.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    digest = None if signer.__class__.__name__.startswith("Ed") else hashes.SHA256()
    certificate = builder.sign(signer, digest)
    pem = serialization.Encoding.PEM
    return (
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        request.public_bytes(pem).decode(),
        certificate.public_bytes(pem).decode(),
    )


def host_of(server_name: str) -> str:
    """The host of a server name: without its port, and without the brackets of an IPv6 address."""
    if server_name.startswith("["):
        return server_name[1:].partition("]")[0]
    return server_name.partition(":")[0]


def _name(server_name: str) -> x509.GeneralName:
    """The subject alternative name. An address is not matched as a DNS name: RFC 9110, 4.3.5."""
    host = host_of(server_name)
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _subject(server_name: str) -> x509.Name:
    # A common name has 64 characters at most. Clients check the alternative name.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_of(server_name)[:64])])


def _problem(path: Path, message: str) -> Problem:
    return Problem(
        variable=str(path),
        value=None,
        message=message,
        hint="give Complement's authority, or set GANGLION_TEST_MODE=no to do without it",
    )
