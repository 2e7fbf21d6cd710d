"""A TLS certificate and key that cannot serve are refused at start."""

import datetime as dt
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ganglion.data import certificate
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
            "has a passphrase, which nginx would wait for",
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
