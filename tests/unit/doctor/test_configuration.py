"""Checks of variables and of the operator's files."""

from pathlib import Path

from ganglion.doctor.finding import Level
from ganglion.errors import Problem
from tests.doctoring import assert_quiet, finding, findings, place, write


def test_each_problem_is_an_error_with_its_fix() -> None:
    problem = Problem(
        variable="WORKERS", value="synchrotonn", message="unknown role", hint="fix it"
    )
    found = finding("configuration", place(problems=(problem,)))
    assert found.level is Level.BAD
    assert found.message == "WORKERS=synchrotonn: unknown role"
    assert found.fix == ("fix it",)
    assert_quiet(findings("configuration", place()))


def test_a_setting_without_effect_is_a_warning() -> None:
    note = "homeserver.yaml: pid_file has no effect: supervisord runs each process"
    found = finding("overridden", place(notes=(note,)))
    assert (found.level, found.message) == (Level.NOTICE, note)
    assert_quiet(findings("overridden", place()))


def test_options_that_synapse_does_not_know() -> None:
    options = {
        "server_name": "example.org",
        "macaroon_secret_key": "x",
        "url_previews_enabled": True,
        "federation_verify_certificate": True,
        "colour_of_rooms": 1,
        "experimental_features": {"msc3083": True, "msc4306_enabled": True},
        "rc_message": {"per_second": 1},
        "matrix_rtc": {},
        "x-anchors": {},
    }
    found = findings("unknown-options", place(options=options))
    messages = [item.message.partition("does not know ")[2] for item in found]
    assert messages == [
        "the option url_previews_enabled",
        "the option federation_verify_certificate",
        "the option colour_of_rooms",
        "experimental_features: msc3083",
    ]
    assert found[0].fix[0].startswith("url_preview_enabled: …")
    assert found[2].fix == ("remove colour_of_rooms from homeserver.yaml",)


def test_options_that_synapse_knows_are_quiet() -> None:
    options = {
        "server_name": "example.org",
        "turn_uris": [],
        "max_event_delay_duration": "24h",
        "rc_login": {},
        "matrix_authentication_service": {},
        "federation_rc_window_size": 1,
        "background_updates": {},
        "pid_file": "/run/pid",
    }
    assert_quiet(findings("unknown-options", place(options=options)))


def test_workers_that_differ_from_those_that_run(tmp_path: Path) -> None:
    where = place({"GANGLION_RUN": str(tmp_path), "WORKERS": "pusher"}, running=True)
    write(tmp_path / "conf" / "workers", "pusher=pusher:1\n")
    assert_quiet(findings("workers", where))
    write(tmp_path / "conf" / "workers", "pusher, synchrotron:2\n")
    found = finding("workers", where)
    assert found.level is Level.NOTICE
    assert "pusher, synchrotron:2 runs, and pusher=pusher:1 would start" in found.message


def test_the_workers_of_a_stopped_server_do_not_differ(tmp_path: Path) -> None:
    found = finding("workers", place({"GANGLION_RUN": str(tmp_path)}))
    assert found.level is Level.SKIPPED


def test_a_directory_without_a_server(tmp_path: Path) -> None:
    where = place({"GANGLION_DATA": str(tmp_path)})
    found = finding("data", where)
    assert found.level is Level.NOTICE
    assert found.message == f"there is no server in {tmp_path}: the next start makes a new one"
    write(tmp_path / "server.json", "{}")
    assert_quiet(findings("data", where))
