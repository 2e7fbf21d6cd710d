"""Checks of ports, certificate, clock and time zone."""

import datetime as dt
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from ganglion.doctor.finding import Level
from ganglion.doctor.machine import Certificate, Clock
from ganglion.doctor.place import Place
from tests.certificates import Authority
from tests.doctoring import (
    NoDatabase,
    assert_quiet,
    finding,
    findings,
    judged,
    levels,
    place,
    write,
)
from tests.harness import free_port


def with_port(port: int, **changed: Any) -> Place:
    # The only port: without a control port.
    variables = {"HTTP_PORT": str(port), "BIND_ADDRESS": "127.0.0.1", "GANGLION_CONTROL": "no"}
    return place(variables, **changed)


def test_a_stopped_server_whose_port_another_program_holds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = finding("ports", with_port(port))
    assert found.level is Level.BAD
    assert found.message == (
        f"127.0.0.1:{port} (HTTP_PORT) cannot be opened: another program listens there"
    )
    assert f"sport = :{port}" in found.fix[0]
    assert_quiet(findings("ports", with_port(port)))


def test_a_running_server_whose_port_does_not_answer() -> None:
    port = free_port()
    found = finding("ports", with_port(port, running=True))
    assert found.level is Level.BAD
    assert found.fix[0].startswith("docker restart NAME")
    with socket.create_server(("127.0.0.1", 0)) as own:
        assert_quiet(findings("ports", with_port(own.getsockname()[1], running=True)))


@pytest.fixture
def certificate(authority: Authority, tmp_path: Path) -> tuple[Path, Path]:
    return authority.issue(tmp_path)


def with_certificate(files: tuple[Path, Path], days: float) -> Place:
    """An installation whose certificate has so many days left."""
    certificate, key = map(str, files)
    where = place({"SYNAPSE_TLS_CERT": certificate, "SYNAPSE_TLS_KEY": key})
    # Those of trustme end in 3000.
    end = dt.datetime(3000, 1, 1, tzinfo=dt.UTC)
    return replace(where, now=end - dt.timedelta(days=days))


def test_days_left_of_the_certificate(certificate: tuple[Path, Path]) -> None:
    assert_quiet(findings("certificate", with_certificate(certificate, 60)))
    found = finding("certificate", with_certificate(certificate, 5.5))
    assert found.level is Level.NOTICE
    assert found.message == "the certificate ends in 5 days, on 3000-01-01"
    found = finding("certificate", with_certificate(certificate, -2))
    assert found.level is Level.BAD
    assert "expired on 3000-01-01" in found.message


def test_a_key_of_another_certificate(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(other)
    found = finding("certificate", with_certificate((certificate[0], other), 60))
    assert found.level is Level.BAD
    assert "does not belong to the first certificate" in found.message


def test_a_certificate_that_cannot_be_read(certificate: tuple[Path, Path]) -> None:
    certificate[0].unlink()
    found = finding("certificate", with_certificate(certificate, 60))
    assert found.level is Level.BAD
    assert "cannot be read: No such file or directory" in found.message


def test_a_renewed_certificate_that_nginx_does_not_serve() -> None:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    facts = Certificate(
        path="/c.pem",
        faults=(),
        now=now,
        until=now + dt.timedelta(days=80),
        served_until=now,
        nginx_pid="/run/nginx.pid",
    )
    (found,) = judged("certificate", facts)
    assert found.level is Level.BAD
    assert found.fix == ("kill -HUP $(cat /run/nginx.pid)    # nginx reads it again",)
    assert_quiet(judged("certificate", replace(facts, served_until=facts.until)))


def test_without_a_certificate_there_is_nothing_to_check() -> None:
    assert finding("certificate", place()).level is Level.SKIPPED


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    data = write(tmp_path / "server.json", "{}")
    where = place({"GANGLION_DATA": str(tmp_path)})
    assert_quiet(findings("clock", where))
    later = time.time() + 4000
    os.utime(data, (later, later))
    found = finding("clock", where)
    assert found.level is Level.BAD
    assert found.message.startswith("the data were written ")


def test_events_of_the_future() -> None:
    now = time.time()
    where = place(database=NoDatabase({"received_ts": [(now, now + 600)]}))
    found = finding("clock", where)
    assert found.level is Level.BAD
    assert found.message.startswith("the newest event came ")
    assert_quiet(findings("clock", place(database=NoDatabase({"received_ts": [(now, now)]}))))


def test_a_clock_that_differs_from_the_databases() -> None:
    assert levels(judged("clock", Clock(synchronised=True, ahead_of_database=-61))) == ["error"]
    assert levels(judged("clock", Clock(synchronised=True, ahead_of_database=200))) == ["error"]
    assert_quiet(judged("clock", Clock(synchronised=False, ahead_of_database=1)))


@pytest.mark.parametrize("zone", ["", "Europe/Berlin", ":Europe/Berlin", "UTC", "CET-1CEST"])
def test_time_zones_that_are_known(zone: str) -> None:
    assert_quiet(findings("time-zone", replace(place(), environ={"TZ": zone})))


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../../etc/passwd"])
def test_time_zones_that_are_unknown(zone: str) -> None:
    found = finding("time-zone", replace(place(), environ={"TZ": zone}))
    assert found.level is Level.NOTICE
    assert zone in found.message
