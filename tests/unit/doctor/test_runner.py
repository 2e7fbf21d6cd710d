"""The concurrent run of checks, their time limit, and how they are printed."""

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ganglion.cli import doctor
from ganglion.cli.main import main
from ganglion.doctor.database import Database
from ganglion.doctor.finding import Check, Finding, Level, bad, good, notice
from ganglion.doctor.network import Network
from ganglion.doctor.place import Place
from ganglion.doctor.runner import Result, examine, worst
from ganglion.doctor.table import CHECKS
from ganglion.doctor.unavailable import Unavailable
from ganglion.doctor.words import safe, secrets_of
from tests.doctoring import BY_NAME, WITHIN, finding, place, write


def check(observe: Callable[[Place], Any], name: str = "one") -> Check:
    return Check(name=name, about="", observe=observe, judge=lambda found: found)


def result(*found: Finding, name: str = "one") -> Result:
    return Result(check=check(lambda _: (), name), findings=found)


def test_a_check_that_hangs_holds_up_no_other() -> None:
    forever = threading.Event()
    checks = (check(lambda _: forever.wait(), "hangs"), check(lambda _: (good("fine"),), "quick"))
    try:
        hanging, quick = examine(checks, place(), 0.5)
    finally:
        forever.set()
    assert [item.message for item in quick.findings] == ["fine"]
    (found,) = hanging.findings
    assert found.level is Level.NOTICE
    assert found.message == "could not be checked within 0.5 s"
    assert found.fix == ("ganglion doctor --wait 30    # gives every check more time",)


def test_checks_run_at_the_same_time() -> None:
    together = threading.Barrier(2)

    def meet(_: Place) -> tuple[Finding, ...]:
        together.wait(WITHIN)
        return (good("met"),)

    found = examine((check(meet), check(meet, "two")), place(), WITHIN)
    assert [item.message for one in found for item in one.findings] == ["met", "met"]


def test_a_check_that_fails_is_a_warning_with_its_reason() -> None:
    def fail(_: Place) -> None:
        raise OSError(5, "Input/output error")

    (found,) = examine((check(fail),), place(), WITHIN)
    assert found.findings[0].level is Level.NOTICE
    assert "OSError: [Errno 5] Input/output error" in found.findings[0].message


def test_a_check_that_does_not_apply_is_not_a_fault() -> None:
    def absent(_: Place) -> None:
        raise Unavailable("no such thing")

    found = examine((check(absent),), place(), WITHIN)
    assert found[0].findings == (Finding(level=Level.SKIPPED, message="no such thing"),)
    assert worst(found) is Level.GOOD


def test_the_worst_finding_decides() -> None:
    some = (good("a"), notice("b", "m", "f"))
    assert worst([result(good("a"))]) is Level.GOOD
    assert worst([result(*some)]) is Level.NOTICE
    assert worst([result(*some), result(bad("c", "m", "f"))]) is Level.BAD


def test_a_frozen_database_is_one_fault_and_delays_nothing() -> None:
    forever = threading.Event()
    frozen = Database(forever.wait, wait=0.2, limit=100)
    where = place({"POSTGRES_HOST": "db.example.org", "POSTGRES_PASSWORD": "x"}, database=frozen)
    try:
        found = examine(CHECKS, where, WITHIN)
    finally:
        forever.set()
    faults = [
        (one.check.name, item.message)
        for one in found
        for item in one.findings
        # The directory of this test holds no server.
        if item.level in (Level.NOTICE, Level.BAD) and one.check.name != "data"
    ]
    assert faults == [
        (
            "database",
            "PostgreSQL does not answer (db.example.org): it accepts no connection within 0.2 s",
        )
    ]


def test_a_database_that_refuses_says_why() -> None:
    def refuse() -> None:
        raise psycopg2.OperationalError("connection failed\nFATAL:  too many connections\n")

    database = Database(refuse, wait=WITHIN, limit=100)
    found = finding(
        "database", place({"POSTGRES_HOST": "db", "POSTGRES_PASSWORD": "x"}, database=database)
    )
    assert found.level is Level.BAD
    assert found.message == "PostgreSQL does not answer (db): FATAL:  too many connections"
    assert found.fix == ("correct POSTGRES_HOST and the rest of POSTGRES_, or start that server",)


def test_control_characters_from_outside_are_escaped() -> None:
    evil = "\x1b]0;title\x07 \u202egnp.exe\nfake ✓ line"
    (clean,) = safe([result(bad(evil, evil, evil))], ())
    (found,) = clean.findings
    expected = r"\x1b]0;title\x07 \u202egnp.exe\nfake ✓ line"
    assert (found.message, found.means, found.fix) == (expected, expected, (expected,))


def test_no_secret_is_printed(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    write(data / "secrets" / "form_secret", "kept-form-secret\n", 0o600)
    write(run / "conf" / "secrets" / "pgpass", "*:*:*:*:password-of-role\n", 0o600)
    write(run / "conf" / "secrets" / "signing_key", "ed25519 a_x SeedOfTheKey\n", 0o600)
    where = place(
        {
            "GANGLION_DATA": str(data),
            "GANGLION_RUN": str(run),
            "SYNAPSE_REGISTRATION_SHARED_SECRET": "from-a-variable",
        },
        {
            "email": {"smtp_pass": "mail-password"},
            "oidc_providers": [{"client_secret": "client-of-oidc"}],
            "matrix_authentication_service": {"secret": "shared-with-mas"},
        },
    )
    hidden = (
        "kept-form-secret",
        "password-of-role",
        "SeedOfTheKey",
        "from-a-variable",
        "mail-password",
        "client-of-oidc",
        "shared-with-mas",
    )
    text = f"{' '.join(hidden)} ed25519 http://alice:hunter2@example.org/"
    (clean,) = safe([result(bad(text, text, text))], secrets_of(where))
    shown = doctor.as_text([clean])
    assert not [secret for secret in (*hidden, "hunter2") if secret in shown]
    assert "ed25519" in shown
    assert "alice" in shown


def test_text_has_a_line_for_each_finding_and_a_last_line_with_numbers() -> None:
    found = [
        result(good("fine"), name="first"),
        result(bad("broken", "it hurts", "do this", "then that"), name="second"),
        result(Finding(level=Level.SKIPPED, message="stopped"), name="third"),
    ]
    assert doctor.as_text(found) == (
        "✓ first   fine\n"
        "✗ second  broken\n"
        "          means: it hurts\n"
        "          fix:   do this\n"
        "                 then that\n"
        "1 ✓, 0 !, 1 ✗; not applicable: third (--all says why)"
    )
    assert "- third   stopped" in doctor.as_text(found, everything=True)


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "GANGLION_DATA": str(tmp_path / "data"),
        "GANGLION_RUN": str(tmp_path / "run"),
        "WORKERS": "none",
        # A port of 1 to 1023 may be forbidden, and 8008 taken.
        "HTTP_PORT": "18999",
        **more,
    }


def test_an_empty_installation_is_quiet_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["configuration", "overridden", "time-zone"]
    assert main(["doctor", *names], environ(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 ✓, 0 !, 0 ✗"
    assert list(tmp_path.iterdir()) == []


def test_status_2_and_every_problem_of_a_configuration_that_does_not_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = environ(tmp_path, GANGLION_WATCHDOGG="3", HTTP_PORT="none")
    assert main(["doctor", "--json", "configuration"], broken) == 2
    found = json.loads(capsys.readouterr().out)
    assert [item["level"] for item in found] == ["error", "error"]
    assert {item["message"].partition(":")[0] for item in found} == {
        "GANGLION_WATCHDOGG",
        "HTTP_PORT=none",
    }


def test_status_1_for_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "time-zone"], environ(tmp_path, TZ="Europe/Atlantis")) == 1
    assert "! time-zone" in capsys.readouterr().out


def test_the_list_has_every_check_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--list", "--json"], {}) == 0
    listed = [item["check"] for item in json.loads(capsys.readouterr().out)]
    assert listed == [check.name for check in CHECKS]
    assert len(set(listed)) == len(listed)


def test_an_unknown_check_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "colour"], {}) == 2
    assert "ganglion doctor --list" in capsys.readouterr().err


def test_the_accounts_are_those_of_the_last_start(tmp_path: Path) -> None:
    settings = place({"GANGLION_DATA": str(tmp_path)}).settings
    lock = write(tmp_path / ".lock", "", 0o600)
    if os.geteuid() != 0:
        # Only root can look at the files of others.
        assert doctor.accounts_of(settings) == {}
        return
    os.chown(lock, 12345, 12346)
    found = doctor.accounts_of(settings)
    assert found == {"synapse": "12345:12346", "postgres": "12345:12346"}
    assert doctor.postgres_role(found) == "postgres"
    os.chown(lock, 0, 0)
    assert "12345:12346" not in doctor.accounts_of(settings).values()


def test_a_check_has_the_time_that_the_start_has_left() -> None:
    forever = threading.Event()
    try:
        (late,) = examine((check(lambda _: forever.wait()),), place(), 1000.0, used=999.9)
    finally:
        forever.set()
    assert late.findings[0].message == "could not be checked within 1000 s"
    assert 0 <= doctor.age() < doctor.LIMIT


def test_every_check_is_documented() -> None:
    for item in CHECKS:
        assert item.about
        assert item.name == item.name.lower()


def test_neighbours_that_are_silent_delay_nothing(tmp_path: Path) -> None:
    """A name server, a bridge, a mail server and a TURN server that never answer."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nameserver,
    ):
        nameserver.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        registration = f"id: bridge\nurl: http://127.0.0.1:{port}\nhs_token: x\nas_token: y\n"
        where = place(
            {"SYNAPSE_SERVER_NAME": "example.org"},
            {
                "app_service_config_files": [str(write(tmp_path / "bridge.yaml", registration))],
                "email": {"smtp_host": "127.0.0.1", "smtp_port": port},
                "turn_uris": [f"turn:127.0.0.1:{port}?transport=tcp"],
                "turn_shared_secret": "x",
            },
            network=Network(nameservers=(nameserver.getsockname(),), timeout=WITHIN),
        )
        names = ("server-name", "application-services", "mail", "turn", "time-zone")
        found = examine([BY_NAME[name] for name in names], where, 1.0)
    late = "could not be checked within 1 s"
    messages = [one.findings[0].message for one in found]
    assert messages == [late, late, late, late, "UTC, as TZ is not set"]
