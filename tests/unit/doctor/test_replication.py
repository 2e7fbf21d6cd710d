"""The check of the certificate that encrypts replication between containers."""

import datetime as dt
from dataclasses import replace

import trustme

from ganglion.doctor.finding import Level
from ganglion.doctor.place import Place
from tests.doctoring import NOW, assert_quiet, finding, findings, place

AUTHORITY = trustme.CA()
PARTS = {
    "WORKERS": "event_persister",
    "GANGLION_ONLY": "main",
    "GANGLION_HOSTS": "*={process}",
    "POSTGRES_HOST": "db",
    "POSTGRES_PASSWORD": "p",
    "REDIS_HOST": "redis",
}


def encrypted(name: str, days: int, *, authority: bool = False) -> Place:
    """Return an installation whose certificate has a name and ends in some days."""
    made = AUTHORITY.issue_cert(name, not_after=NOW + dt.timedelta(days=days, hours=1))
    texts = {
        "GANGLION_REPLICATION_CERT": made.cert_chain_pems[0].bytes().decode(),
        "GANGLION_REPLICATION_KEY": made.private_key_pem.bytes().decode(),
    }
    if authority:
        texts["GANGLION_REPLICATION_CA"] = AUTHORITY.cert_pem.bytes().decode()
    return place(PARTS | texts)


def test_one_that_is_valid_for_long() -> None:
    found = findings("replication-certificate", encrypted("ganglion", 30))
    assert_quiet(found)
    assert found[0].message.endswith("valid for 30 days, until 2026-12-27")


def test_one_that_ends_soon() -> None:
    found = finding("replication-certificate", encrypted("ganglion", 3))
    assert found.level is Level.NOTICE
    assert "valid for 3 days" in found.message
    assert found.fix[0].startswith("openssl req -x509 ")
    found = finding("replication-certificate", encrypted("main", 3, authority=True))
    assert found.fix[0].startswith("sign new ones with your authority")


def test_one_that_has_ended_and_one_for_another_host() -> None:
    found = finding("replication-certificate", encrypted("ganglion", -1))
    assert found.level is Level.BAD
    assert found.message.startswith("GANGLION_REPLICATION_CERT expired on 2026-11-26")
    found = finding("replication-certificate", encrypted("other", 30, authority=True))
    assert found.level is Level.BAD
    assert "other containers connect to main" in found.message


def test_a_server_in_one_container_has_none() -> None:
    found = finding("replication-certificate", place())
    assert found.level is Level.SKIPPED
    broken = replace(encrypted("ganglion", 30), plan=None)
    assert finding("replication-certificate", broken).level is Level.SKIPPED
