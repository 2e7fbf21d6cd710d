"""The check of versions."""

import datetime as dt
from dataclasses import replace

import pytest

from ganglion.doctor.finding import Level
from ganglion.doctor.versions import FAULTS, Versions, numbers
from tests.doctoring import assert_quiet, judged

FINE = Versions(
    found={"Synapse": "1.163.2", "PostgreSQL": "17.6"}, last={}, today=dt.date(2026, 11, 27)
)


@pytest.mark.parametrize(
    ("program", "version", "message"),
    [
        ("Synapse", "1.127.0", "malicious event"),
        ("Synapse", "1.138.2", "invalid device keys"),
        ("Synapse", "1.138.3", "was replaced within days"),
        ("Synapse", "1.139.1", "regression"),
        ("Synapse", "1.157.1", "several vulnerabilities of high severity"),
        ("PostgreSQL", "14.3", "corrupt indexes"),
        ("PostgreSQL", "16.5", "ALTER ROLE"),
    ],
)
def test_versions_with_known_faults(program: str, version: str, message: str) -> None:
    found = judged("versions", replace(FINE, found={**FINE.found, program: version}))
    faults = [item for item in found if item.level is Level.BAD]
    assert any(message in item.message for item in faults)
    assert all(item.fix[0].startswith("upgrade") for item in faults)


@pytest.mark.parametrize("synapse", ["1.157.2", "1.163.2", "1.164.0rc1"])
def test_versions_without_known_faults(synapse: str) -> None:
    assert_quiet(judged("versions", replace(FINE, found={**FINE.found, "Synapse": synapse})))


def test_the_installed_synapse_is_without_known_faults() -> None:
    from ganglion.doctor.configuration import synapse_version  # noqa: PLC0415

    assert_quiet(judged("versions", replace(FINE, found={"Synapse": synapse_version()})))


def test_each_fault_ends_after_it_began() -> None:
    assert all(item.since < item.fixed and item.reference for item in FAULTS)


def test_postgresql_without_support() -> None:
    old = replace(FINE, found={"Synapse": "1.163.2", "PostgreSQL": "14.20"})
    (found,) = judged("versions", old)
    assert found.level is Level.NOTICE
    assert found.message == "PostgreSQL 14 has had no fixes since 2026-11-12"
    assert_quiet(judged("versions", replace(old, today=dt.date(2026, 11, 1))))


def test_a_cluster_without_its_programs() -> None:
    stopped = replace(FINE, found={"Synapse": "1.163.2"}, cluster=16)
    assert_quiet(judged("versions", stopped))
    (found,) = judged("versions", replace(stopped, programs=False))
    assert found.level is Level.BAD
    assert found.fix[0].startswith("apt-get install postgresql-16 ")


def test_data_of_a_later_synapse() -> None:
    (found,) = judged("versions", replace(FINE, last={"synapse": "1.164.0"}))
    assert found.level is Level.NOTICE
    assert "the data were last used by Synapse 1.164.0, and 1.163.2" in found.message
    assert_quiet(judged("versions", replace(FINE, last={"synapse": "1.162.0"})))


@pytest.mark.parametrize(
    ("text", "expected"), [("17.6", (17, 6)), ("1.164.0rc1", (1, 164, 0)), ("", ()), ("x", ())]
)
def test_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert numbers(text) == expected
