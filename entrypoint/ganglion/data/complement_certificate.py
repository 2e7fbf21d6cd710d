"""A certificate for the server's name, signed by the authority that Complement brings.

This module is imported only where a certificate is made: `cryptography`, which comes with Synapse,
takes its time.
"""

import datetime as dt
import hashlib
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ganglion.data import complement_authority
from ganglion.data.complement_authority import Authority
from ganglion.files.file import SECRET, File
from ganglion.files.write import write_directory

# Longer than any image is kept that a container with it was committed to.
LIFETIME = dt.timedelta(days=3650)
# Clocks of the machines that talk to each other differ.
BACKDATED = dt.timedelta(days=1)
# The files that other programs read. TRUSTED is the root of the authority, for Synapse: it reads
# only the first certificate of a file, and OpenSSL trusts no intermediate by itself.
TRUSTED = "authority.crt"
MADE = ("server.key", "server.crt", TRUSTED)
MADE_FOR = "made-for"
PEM = serialization.Encoding.PEM


def ensure(directory: Path, authority: Path, server_name: str, now: dt.datetime) -> bool:
    """Make server.crt and server.key in `directory`, unless they fit the name and the authority.

    Returns whether they were made. `authority` is the directory with ca.crt and ca.key.

    Raises ConfigError where the authority cannot be used.
    """
    signer = complement_authority.load(authority, now)
    purpose = f"{server_name} {hashlib.sha256(signer.content).hexdigest()}\n"
    made = all((directory / name).is_file() for name in (*MADE, MADE_FOR))
    if made and (directory / MADE_FOR).read_text() == purpose:
        return False
    key, request, certificate = _issue(signer, server_name, now)
    sent = (certificate, *signer.intermediates)
    files = (
        File(path="server.key", content=key, mode=SECRET),
        File(path="server.csr", content=request),
        File(path="server.crt", content="".join(map(_pem, sent))),
        File(path=TRUSTED, content=_pem(signer.root)),
        File(path=MADE_FOR, content=purpose),
    )
    write_directory(directory, files, {})
    return True


def _issue(
    authority: Authority, server_name: str, now: dt.datetime
) -> tuple[str, str, x509.Certificate]:
    """Make a key and a request for it, both as PEM, and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(server_name))
        .add_extension(x509.SubjectAlternativeName([_name(server_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(authority.issuer.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
        .add_extension(authority.key_identifier, critical=False)
    )
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    certificate = builder.sign(authority.key, authority.digest)
    private = key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), request.public_bytes(PEM).decode(), certificate


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(PEM).decode()


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
