"""A TLS certificate and key that cannot serve are refused at start."""

import datetime as dt
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ganglion.data import certificate, certificate_check
from tests.plans import problems, said, settings

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
AUTHORITY = trustme.CA()


def write(place: Path, chain: bytes, key: bytes) -> dict[str, str]:
    (place / "cert.pem").write_bytes(chain)
    (place / "key.pem").write_bytes(key)
    return {"SYNAPSE_TLS_CERT": f"{place}/cert.pem", "SYNAPSE_TLS_KEY": f"{place}/key.pem"}


def checked(environ: dict[str, str]) -> list[str]:
    return problems(lambda: certificate.check(settings(**environ), NOW))


def issued(not_after: dt.datetime | None = None) -> tuple[bytes, bytes]:
    found = AUTHORITY.issue_cert("example.org", not_after=not_after)
    return b"".join(item.bytes() for item in found.cert_chain_pems), found.private_key_pem.bytes()


def test_one_that_fits(tmp_path: Path) -> None:
    assert checked(write(tmp_path, *issued())) == []


def test_an_expired_one(tmp_path: Path) -> None:
    environ = write(tmp_path, *issued(dt.datetime(2026, 5, 1, 12, 30, tzinfo=dt.UTC)))
    assert checked(environ) == [
        said(
            f"SYNAPSE_TLS_CERT='{tmp_path}/cert.pem'",
            "expired on 2026-05-01 12:30 UTC",
            "renew it, or unset SYNAPSE_TLS_CERT and SYNAPSE_TLS_KEY to serve HTTP only",
        )
    ]


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    assert checked(write(tmp_path, issued()[0], issued()[1])) == [
        said(
            f"SYNAPSE_TLS_KEY='{tmp_path}/key.pem'",
            "does not belong to the first certificate of SYNAPSE_TLS_CERT",
            "give the key that the certificate was made with",
        )
    ]


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert checked(write(tmp_path, issued()[0], key)) == [
        said(
            f"SYNAPSE_TLS_KEY='{tmp_path}/key.pem'",
            "has a passphrase, which nobody is there to type",
            "remove the passphrase: openssl pkey -in KEY -out NEW-KEY",
        )
    ]


@pytest.mark.parametrize("text", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_files_that_hold_something_else(tmp_path: Path, text: bytes) -> None:
    found = checked(write(tmp_path, text, text))
    assert [problem.split(":")[0].split("=")[0] for problem in found] == [
        "SYNAPSE_TLS_CERT",
        "SYNAPSE_TLS_KEY",
    ]


def of_replication(
    *names: str, own: bool = False, hosts: tuple[str, ...] = ("writer1",), days: int = 30
) -> list[str]:
    """Return the faults of a certificate for names, of an authority that is given or not."""
    issued = AUTHORITY.issue_cert(*names, not_after=NOW + dt.timedelta(days=days))
    chain = b"".join(item.bytes() for item in issued.cert_chain_pems)
    found = certificate_check.faults_of_replication(
        chain,
        issued.private_key_pem.bytes(),
        None if own else AUTHORITY.cert_pem.bytes(),
        hosts,
        NOW,
    )
    return [f"{variable} {message}" for variable, message, _ in found]


@pytest.mark.parametrize(
    ("names", "hosts"),
    [
        (["writer1"], ("writer1",)),
        (["WRITER1.example.org"], ("writer1.example.org",)),
        (["*.example.org"], ("writer1.example.org", "main.example.org")),
        (["10.0.0.1", "main"], ("main", "10.0.0.1")),
        # Workers without replication have no host to which others connect.
        (["anything"], ()),
    ],
)
def test_replication_with_an_authority_needs_the_names_of_its_hosts(
    names: list[str], hosts: tuple[str, ...]
) -> None:
    assert of_replication(*names, hosts=hosts) == []


@pytest.mark.parametrize(
    ("names", "missing"),
    [(["writer2"], "writer1"), (["*.org"], "writer1"), (["writer1.example.org"], "writer1")],
)
def test_a_certificate_of_replication_for_other_hosts(names: list[str], missing: str) -> None:
    assert of_replication(*names) == [
        f"GANGLION_REPLICATION_CERT is for {names[0]}, and other containers connect to {missing}"
    ]


def test_a_shared_certificate_may_have_any_name_and_needs_one() -> None:
    assert of_replication("ganglion", own=True) == []
    assert of_replication("a@example.org", own=True) == [
        "GANGLION_REPLICATION_CERT names no host (subject alternative name)"
    ]
    assert of_replication("ganglion", own=True, days=-1) == [
        "GANGLION_REPLICATION_CERT expired on 2026-05-31 00:00 UTC"
    ]


def test_an_authority_that_is_none() -> None:
    issued = AUTHORITY.issue_cert("writer1")
    chain, key = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
    found = certificate_check.faults_of_replication(chain, key, b"nothing", ("writer1",), NOW)
    assert [variable for variable, _, _ in found] == ["GANGLION_REPLICATION_CA"]
