"""The certificate that a server for tests makes itself."""

import datetime as dt
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store

from ganglion.data.complement_certificate import ensure, host_of
from tests.certificates import Authority
from tests.plans import problems, said

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A directory as Complement makes it."""
    (tmp_path / "ca").mkdir()
    return Authority.make(tmp_path).as_complement(tmp_path / "ca")


def names(directory: Path) -> list[object]:
    certificate = x509.load_pem_x509_certificate((directory / "server.crt").read_bytes())
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [name.value for name in extension.value]


@pytest.mark.parametrize(
    ("server_name", "expected"),
    [
        ("hs1", "hs1"),
        ("example.org:8448", "example.org"),
        ("192.0.2.1", ipaddress.ip_address("192.0.2.1")),
        ("192.0.2.1:8448", ipaddress.ip_address("192.0.2.1")),
        ("[2001:db8::1]:8448", ipaddress.ip_address("2001:db8::1")),
        ("x" * 63 + ".example.org", "x" * 63 + ".example.org"),
    ],
)
def test_it_is_for_the_host_of_the_server_name(
    tmp_path: Path, authority: Path, server_name: str, expected: object
) -> None:
    assert ensure(tmp_path / "made", authority, server_name, NOW)
    assert names(tmp_path / "made") == [expected]
    request = x509.load_pem_x509_csr((tmp_path / "made" / "server.csr").read_bytes())
    assert request.is_signature_valid
    assert host_of(server_name) == str(expected)


def test_the_authority_vouches_for_it(tmp_path: Path, authority: Path) -> None:
    ensure(tmp_path / "made", authority, "hs1.example", NOW)
    issuer = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    made = x509.load_pem_x509_certificate((tmp_path / "made" / "server.crt").read_bytes())
    made.verify_directly_issued_by(issuer)
    verifier = PolicyBuilder().store(Store([issuer]))
    verifier.build_server_verifier(x509.DNSName("hs1.example")).verify(made, [])
    key = load_pem_private_key((tmp_path / "made" / "server.key").read_bytes(), None)
    assert key.public_key() == made.public_key()
    assert (tmp_path / "made" / "server.key").stat().st_mode & 0o777 == 0o600


def test_it_is_made_again_for_another_name_or_by_another_authority(
    tmp_path: Path, authority: Path
) -> None:
    made = tmp_path / "made"
    assert ensure(made, authority, "hs1", NOW)
    first = (made / "server.crt").read_bytes()
    assert not ensure(made, authority, "hs1", NOW)
    assert (made / "server.crt").read_bytes() == first
    assert ensure(made, authority, "hs2", NOW)
    assert names(made) == ["hs2"]
    Authority.make(tmp_path).as_complement(authority)
    assert ensure(made, authority, "hs2", NOW)
    assert not ensure(made, authority, "hs2", NOW)
    (made / "server.key").unlink()
    assert ensure(made, authority, "hs2", NOW)


FIX = "give Complement's authority, or set GANGLION_TEST_MODE=no to do without it"


def test_an_authority_that_cannot_sign(tmp_path: Path, authority: Path) -> None:
    def refused() -> list[str]:
        return problems(lambda: ensure(tmp_path / "made", authority, "hs1", NOW))

    other = tmp_path / "other"
    other.mkdir()
    Authority.make(tmp_path).as_complement(other)
    (authority / "ca.key").write_bytes((other / "ca.key").read_bytes())
    assert refused() == [
        said(f"{authority}/ca.key", "is not the key of the first certificate in ca.crt", FIX)
    ]
    (authority / "ca.key").write_text("nonsense")
    message = "is no private key in PEM without a password"
    assert refused() == [said(f"{authority}/ca.key", message, FIX)]
    (authority / "ca.crt").write_text("nonsense")
    assert refused() == [said(f"{authority}/ca.crt", "is no certificate in PEM", FIX)]
    (authority / "ca.crt").unlink()
    (authority / "ca.key").unlink()
    assert refused() == [
        said(f"{authority}/ca.{end}", "cannot be read: No such file or directory", FIX)
        for end in ("crt", "key")
    ]
    assert not (tmp_path / "made").exists()
