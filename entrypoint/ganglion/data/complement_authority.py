"""The certificate authority that Complement brings: ca.crt and ca.key, read and checked.

ca.crt holds the authority's certificate. If another authority issued that one, the certificates of
those above may follow in the same file, up to the root.
"""

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ganglion.errors import ConfigError, Problem
from ganglion.settings.reading import LARGEST_FILE, read_bytes

T = TypeVar("T", bound=x509.ExtensionType)
CERTIFICATE, KEY = "ca.crt", "ca.key"
HINT = "give Complement's authority, or set GANGLION_TEST_MODE=no to do without it"
FOR_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
# Keys that sign certificates, and the digest that goes with each.
DIGESTS: tuple[tuple[type[Any], hashes.SHA256 | None], ...] = (
    (rsa.RSAPrivateKey, hashes.SHA256()),
    (ec.EllipticCurvePrivateKey, hashes.SHA256()),
    (ed25519.Ed25519PrivateKey, None),
    (ed448.Ed448PrivateKey, None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """An authority that can sign. `chain` holds its certificate first and the root last."""

    key: Any
    digest: hashes.SHA256 | None
    chain: tuple[x509.Certificate, ...]
    content: bytes

    @property
    def issuer(self) -> x509.Certificate:
        """The certificate whose key signs."""
        return self.chain[0]

    @property
    def root(self) -> x509.Certificate:
        """The certificate that verifiers trust."""
        return self.chain[-1]

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """The certificates that a server sends after its own: all but a self-signed root."""
        return tuple(found for found in self.chain if found.subject != found.issuer)

    @property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """The authority key identifier for a certificate that it issues.

        OpenSSL compares it with the issuer's subject key identifier, byte for byte. Go computes
        that one in another way than OpenSSL, so copy it (RFC 5280, 4.2.1.1). Python's strict mode
        requires the extension, so compute it if the issuer has none to copy.
        """
        found = _extension(self.issuer, x509.SubjectKeyIdentifier)
        if found is not None:
            return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def load(directory: Path, now: dt.datetime) -> Authority:
    """Read the authority in `directory`. Raises ConfigError if it cannot sign `now`."""
    contents = _contents(directory)
    certificate, key = directory / CERTIFICATE, directory / KEY
    try:
        chain = tuple(x509.load_pem_x509_certificates(contents[CERTIFICATE]))
    except ValueError as error:
        raise _refusal(certificate, "is no certificate in PEM") from error
    try:
        signer = serialization.load_pem_private_key(contents[KEY], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _refusal(key, "is no private key in PEM without a password") from error
    digests = [digest for kind, digest in DIGESTS if isinstance(signer, kind)]
    if not digests:
        raise _refusal(key, "is not an RSA, ECDSA or EdDSA key, so it cannot sign certificates")
    if signer.public_key() != chain[0].public_key():
        raise _refusal(key, f"is not the key of the first certificate in {CERTIFICATE}")
    problems = [_problem(certificate, text) for text in _faults(chain, now)]
    if problems:
        raise ConfigError(problems)
    content = contents[CERTIFICATE] + contents[KEY]
    return Authority(key=signer, digest=digests[0], chain=chain, content=content)


def _contents(directory: Path) -> dict[str, bytes]:
    problems: list[Problem] = []
    contents: dict[str, bytes] = {}
    for name in (CERTIFICATE, KEY):
        try:
            contents[name] = read_bytes(directory / name, LARGEST_FILE)
        except OSError as error:
            problems.append(_problem(directory / name, f"cannot be read: {error.strerror}"))
    if problems:
        raise ConfigError(problems)
    return contents


def _faults(chain: tuple[x509.Certificate, ...], now: dt.datetime) -> list[str]:
    """Name everything for which a verifier would reject certificates below this chain."""
    faults = []
    for below, found in enumerate(chain):
        which = "" if len(chain) == 1 else f"certificate {below + 1}: "
        try:
            faults += [which + fault for fault in (*_dates(found, now), *_uses(found, below))]
        except ValueError as error:
            faults.append(f"{which}has an extension that cannot be read: {error}")
    for number, (lower, upper) in enumerate(pairwise(chain), 1):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            faults.append(f"certificate {number + 1}: did not issue certificate {number}")
    return faults


def _dates(found: x509.Certificate, now: dt.datetime) -> list[str]:
    if now < found.not_valid_before_utc:
        return [f"is not valid before {found.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"]
    if now > found.not_valid_after_utc:
        return [f"expired on {found.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"]
    return []


def _uses(found: x509.Certificate, below: int) -> list[str]:
    """Name each rule that forbids to sign. `below` counts the authorities below this one."""
    faults = []
    constraints = _extension(found, x509.BasicConstraints)
    usage = _extension(found, x509.KeyUsage)
    extended = _extension(found, x509.ExtendedKeyUsage)
    length = None if constraints is None else constraints.path_length
    if constraints is None and usage is None and found.version is not x509.Version.v1:
        # OpenSSL accepts this of version 1 alone, which has no extensions at all.
        faults.append("is not an authority's certificate: it has no basic constraints")
    if constraints is not None and not constraints.ca:
        faults.append("is not an authority's certificate: its basic constraints say CA:FALSE")
    if length is not None and length < below:
        faults.append(f"allows a path length of {length}; the authorities below it need {below}")
    if usage is not None and not usage.key_cert_sign:
        faults.append("may not sign certificates: its key usage lacks keyCertSign")
    if extended is not None and not FOR_SERVERS & set(extended):
        faults.append("may not sign for servers: its extended key usage lacks serverAuth")
    return faults


def _extension(found: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return found.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _refusal(path: Path, message: str) -> ConfigError:
    return ConfigError([_problem(path, message)])


def _problem(path: Path, message: str) -> Problem:
    return Problem(variable=str(path), value=None, message=message, hint=HINT)
