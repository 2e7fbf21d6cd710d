"""Every kind of authority that a certificate may have to be signed by."""

import datetime as dt
import hashlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ganglion.data.complement_authority import HINT
from ganglion.data.complement_certificate import TRUSTED, ensure
from tests.plans import problems, said

NAME = "hs1.example"
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)
PEM = serialization.Encoding.PEM
Extensions = Sequence[tuple[x509.ExtensionType, bool]]
# The keys that sign certificates.
KEYS: dict[str, Callable[[], Any]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}
AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)


def usage(**true: bool) -> x509.KeyUsage:
    """Make a key usage with only the named uses."""
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: true.get(name, False) for name in names})


CERTIFICATES_ONLY = usage(key_cert_sign=True)
SIGNS_NO_CERTIFICATES = usage(crl_sign=True, digital_signature=True)


def sha1(key: Any) -> x509.SubjectKeyIdentifier:
    """Compute the key identifier as OpenSSL does."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def sha256(key: Any) -> x509.SubjectKeyIdentifier:
    """Compute the key identifier as Go does since 1.25: RFC 7093, method 1."""
    return x509.SubjectKeyIdentifier(hashlib.sha256(sha1(key).digest).digest()[:20])


def key_usage_alone(_key: Any) -> Extensions:
    return ((CERTIFICATES_ONLY, True),)


def none(_key: Any) -> Extensions:
    return ()


def full(key: Any) -> Extensions:
    return (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (CERTIFICATES_ONLY, True),
        (sha1(key), False),
    )


def go(key: Any) -> Extensions:
    """The extensions of the authority that Complement makes."""
    return (
        (CERTIFICATES_ONLY, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (AUTHORITY, True),
        (sha256(key), False),
    )


def with_long_identifier(_key: Any) -> Extensions:
    return ((AUTHORITY, True), (x509.SubjectKeyIdentifier(b"any text is an identifier" * 3), False))


def without_identifier(_key: Any) -> Extensions:
    return ((AUTHORITY, True), (CERTIFICATES_ONLY, True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An authority for a test."""

    key: Any
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)


def make(
    kind: str = "ecdsa-p256",
    extensions: Callable[[Any], Extensions] = full,
    *,
    name: str = "An authority",
    above: Made | None = None,
    since: dt.datetime = NOW - DAY,
    until: dt.datetime = NOW + DAY,
) -> Made:
    """Make an authority: self-signed, or issued by the one above."""
    key = KEYS[kind]()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if above is None else above.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
    for extension, critical in extensions(key):
        builder = builder.add_extension(extension, critical)
    signer = key if above is None else above.key
    digest = None if type(signer).__name__.startswith("Ed") else hashes.SHA256()
    return Made(key=key, certificate=builder.sign(signer, digest))


def give(directory: Path, *chain: Made, key: Any = None) -> Path:
    """Write an authority as Complement does; `chain` has the one that signs first."""
    (directory / "ca").mkdir()
    (directory / "ca" / "ca.crt").write_bytes(b"".join(made.pem for made in chain))
    private = (key or chain[0].key).private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "ca" / "ca.key").write_bytes(private)
    return directory / "ca"


def connect(made: Path, flags: ssl.VerifyFlags = ssl.VERIFY_DEFAULT) -> None:
    """Complete a TLS handshake in memory, trusting the root. Raises ssl.SSLError."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(made / "server.crt", made / "server.key")
    client_context = ssl.create_default_context(cafile=str(made / TRUSTED))
    client_context.verify_flags = flags
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=NAME)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
        if not waiting:
            return
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(
    "extensions", [key_usage_alone, full, go, with_long_identifier, without_identifier]
)
def test_openssl_accepts_a_certificate_of_every_authority(
    tmp_path: Path, kind: str, extensions: Callable[[Any], Extensions]
) -> None:
    assert ensure(tmp_path / "made", give(tmp_path, make(kind, extensions)), NAME, NOW)
    connect(tmp_path / "made")


@pytest.mark.parametrize("extensions", [full, go])
def test_a_strict_verifier_accepts_it_too(
    tmp_path: Path, extensions: Callable[[Any], Extensions]
) -> None:
    """If the authority itself is one that a strict verifier accepts."""
    assert ensure(tmp_path / "made", give(tmp_path, make(extensions=extensions)), NAME, NOW)
    connect(tmp_path / "made", ssl.VERIFY_X509_STRICT)


def test_an_identifier_of_another_kind_matters(tmp_path: Path) -> None:
    """The handshake of these tests fails with the identifier that OpenSSL would compute."""
    authority = make(extensions=go)
    ensure(tmp_path / "made", give(tmp_path, authority), NAME, NOW)
    found = x509.load_pem_x509_certificate((tmp_path / "made" / "server.crt").read_bytes())
    builder = (
        x509.CertificateBuilder()
        .subject_name(found.subject)
        .issuer_name(found.issuer)
        .public_key(found.public_key())
        .serial_number(found.serial_number)
        .not_valid_before(found.not_valid_before_utc)
        .not_valid_after(found.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    other = builder.sign(authority.key, hashes.SHA256())
    (tmp_path / "made" / "server.crt").write_bytes(other.public_bytes(PEM))
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(tmp_path / "made")


@pytest.mark.parametrize("kind", KEYS)
def test_an_intermediate_authority_brings_those_above_it(tmp_path: Path, kind: str) -> None:
    """The server sends the intermediates, and Synapse trusts the root."""
    root = make(extensions=go, name="root")
    middle = make("ed25519", go, name="middle", above=root)
    lowest = make(kind, full, name="lowest", above=middle)
    made = tmp_path / "made"
    assert ensure(made, give(tmp_path, lowest, middle, root), NAME, NOW)
    sent = x509.load_pem_x509_certificates((made / "server.crt").read_bytes())
    assert sent[1:] == [lowest.certificate, middle.certificate]
    assert (made / TRUSTED).read_bytes() == root.pem
    connect(made)


def test_an_intermediate_authority_may_come_alone(tmp_path: Path) -> None:
    """A verifier then has the root from elsewhere."""
    root = make(extensions=go, name="root")
    lowest = make(name="lowest", above=root)
    made = tmp_path / "made"
    assert ensure(made, give(tmp_path, lowest), NAME, NOW)
    assert (made / TRUSTED).read_bytes() == lowest.pem
    (made / TRUSTED).write_bytes(root.pem)
    connect(made)


def refused(authority: Path) -> list[str]:
    """The problems with which it is refused."""
    made = authority.parent / "made"
    found = problems(lambda: ensure(made, authority, NAME, NOW))
    assert not made.exists()
    return found


def der(tag: int, content: bytes) -> bytes:
    """Encode one value of ASN.1."""
    length = len(content)
    size = (length.bit_length() + 7) // 8
    head = (length,) if length < 128 else (0x80 + size, *length.to_bytes(size, "big"))
    return bytes((tag, *head)) + content


def as_version_1(made: Made) -> Made:
    """The same authority with a certificate of version 1, which has no extensions."""
    signed = made.certificate.tbs_certificate_bytes
    header, version, rest = signed.partition(bytes.fromhex("a003020102"))
    assert version
    assert len(header) <= 4
    signed = der(0x30, rest)
    signature = b"\0" + made.key.sign(signed, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    whole = der(0x30, signed + algorithm + der(0x03, signature))
    found = x509.load_der_x509_certificate(whole)
    return Made(key=made.key, certificate=found)


def test_an_authority_of_version_1_signs(tmp_path: Path) -> None:
    authority = as_version_1(make(extensions=none))
    assert authority.certificate.version is x509.Version.v1
    ensure(tmp_path / "made", give(tmp_path, authority), NAME, NOW)
    connect(tmp_path / "made")


def constrained(*extensions: x509.ExtensionType) -> Callable[[Any], Extensions]:
    return lambda _key: tuple((extension, True) for extension in extensions)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        ((NOW - 2 * DAY, NOW - DAY), f"expired on {NOW - DAY:%Y-%m-%d %H:%M:%S} UTC"),
        ((NOW + DAY, NOW + 2 * DAY), f"is not valid before {NOW + DAY:%Y-%m-%d %H:%M:%S} UTC"),
    ],
    # Without the time, which differs between the processes of pytest-xdist.
    ids=["expired", "not valid yet"],
)
def test_an_authority_of_another_time_is_refused(
    tmp_path: Path, dates: tuple[dt.datetime, dt.datetime], message: str
) -> None:
    since, until = dates
    authority = give(tmp_path, make(since=since, until=until))
    assert refused(authority) == [said(f"{authority}/ca.crt", message, HINT)]


def test_an_authority_that_expires_later_is_refused_at_the_next_start(tmp_path: Path) -> None:
    authority, made = give(tmp_path, make()), tmp_path / "made"
    assert ensure(made, authority, NAME, NOW)
    (problem,) = problems(lambda: ensure(made, authority, NAME, NOW + 2 * DAY))
    assert "ca.crt: expired on " in problem


@pytest.mark.parametrize(
    ("extensions", "message"),
    [
        ((), "is not an authority's certificate: it has no basic constraints"),
        (
            (x509.BasicConstraints(ca=False, path_length=None),),
            "is not an authority's certificate: its basic constraints say CA:FALSE",
        ),
        (
            (AUTHORITY, SIGNS_NO_CERTIFICATES),
            "may not sign certificates: its key usage lacks keyCertSign",
        ),
        (
            (AUTHORITY, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
            "may not sign for servers: its extended key usage lacks serverAuth",
        ),
    ],
)
def test_a_certificate_that_may_not_sign_is_refused(
    tmp_path: Path, extensions: tuple[x509.ExtensionType, ...], message: str
) -> None:
    authority = give(tmp_path, make(extensions=constrained(*extensions)))
    assert refused(authority) == [said(f"{authority}/ca.crt", message, HINT)]


def test_all_faults_of_a_chain_are_reported_together(tmp_path: Path) -> None:
    root = make(extensions=full, name="root", until=NOW - dt.timedelta(hours=1))
    stranger = make(name="root")
    lowest = make(name="lowest", above=stranger)
    authority = give(tmp_path, lowest, root)
    expired = f"{NOW - dt.timedelta(hours=1):%Y-%m-%d %H:%M:%S}"
    assert refused(authority) == [
        said(f"{authority}/ca.crt", text, HINT)
        for text in (
            f"certificate 2: expired on {expired} UTC",
            "certificate 2: allows a path length of 0; the authorities below it need 1",
            "certificate 2: did not issue certificate 1",
        )
    ]


def test_a_key_that_does_not_match_is_refused(tmp_path: Path) -> None:
    authority = give(tmp_path, make(), key=make("rsa").key)
    message = "is not the key of the first certificate in ca.crt"
    assert refused(authority) == [said(f"{authority}/ca.key", message, HINT)]


def test_a_key_that_signs_no_certificates_is_refused(tmp_path: Path) -> None:
    authority = give(tmp_path, make(), key=dsa.generate_private_key(2048))
    message = "is not an RSA, ECDSA or EdDSA key, so it cannot sign certificates"
    assert refused(authority) == [said(f"{authority}/ca.key", message, HINT)]


def test_a_key_with_a_password_is_refused(tmp_path: Path) -> None:
    made = make()
    authority = give(tmp_path, made)
    (authority / "ca.key").write_bytes(
        made.key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    message = "is no private key in PEM without a password"
    assert refused(authority) == [said(f"{authority}/ca.key", message, HINT)]


def test_a_certificate_in_der_is_refused(tmp_path: Path) -> None:
    made = make()
    authority = give(tmp_path, made)
    (authority / "ca.crt").write_bytes(made.certificate.public_bytes(serialization.Encoding.DER))
    message = "is no certificate in PEM"
    assert refused(authority) == [said(f"{authority}/ca.crt", message, HINT)]
