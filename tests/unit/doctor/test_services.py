"""Checks of the services around Synapse, with services of the tests' own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ganglion.doctor.finding import Finding, Level
from ganglion.doctor.network import Network
from ganglion.doctor.services import Bridge, Call
from tests.doctoring import (
    NoDatabase,
    Reply,
    Zone,
    assert_quiet,
    finding,
    findings,
    http_server,
    judged,
    place,
    write,
)
from tests.harness import free_port


def registration(tmp_path: Path, port: int | None) -> dict[str, Any]:
    """The options of a server with a bridge at a port."""
    url = "null" if port is None else f"http://127.0.0.1:{port}"
    text = f"id: bridge\nurl: {url}\nhs_token: of-synapse\nas_token: of-bridge\n"
    return {"app_service_config_files": [str(write(tmp_path / "bridge.yaml", text))]}


@pytest.mark.parametrize(
    ("status", "level", "message"),
    [
        (200, Level.GOOD, "answers: bridge"),
        (404, Level.GOOD, "answers: bridge"),
        (403, Level.BAD, "the application service bridge rejects Synapse's hs_token (403)"),
        (502, Level.BAD, "the application service bridge answers 502"),
    ],
)
def test_application_services(tmp_path: Path, status: int, level: Level, message: str) -> None:
    asked = []

    def answer(method: str, path: str, body: bytes) -> Reply:
        asked.append((method, path, json.loads(body)))
        return status, {}, b"{}"

    with http_server(answer) as port:
        found = finding("application-services", place(options=registration(tmp_path, port)))
    assert (found.level, found.message) == (level, message)
    assert asked == [("POST", "/_matrix/app/v1/ping", {"transaction_id": "ganglion-doctor"})]


def test_an_application_service_that_is_down(tmp_path: Path) -> None:
    port = free_port()
    found = finding("application-services", place(options=registration(tmp_path, port)))
    assert found.level is Level.BAD
    assert found.message == (
        f"the application service bridge does not answer at http://127.0.0.1:{port}:"
        " connection refused"
    )


def test_an_application_service_without_a_url_is_quiet(tmp_path: Path) -> None:
    assert_quiet(findings("application-services", place(options=registration(tmp_path, None))))


def test_an_application_service_that_is_behind() -> None:
    behind = Bridge(name="b", path="b.yaml", url="http://b", status=200, waiting=500)
    (found,) = judged("application-services", (behind,))
    assert found.level is Level.NOTICE
    assert found.message == "500 transactions wait for the application service b"


def test_a_registration_that_cannot_be_read() -> None:
    options = {"app_service_config_files": ["/no/such/file.yaml"]}
    found = finding("application-services", place(options=options))
    assert "cannot be read: No such file or directory" in found.message


FLOWS = {"flows": [{"type": "m.login.password"}]}
PROVIDER = {"issuer": "http://127.0.0.1/"}


def mas(answers: Mapping[str, tuple[int, object]]) -> Finding:
    """The finding on a MAS and a public URL that answer so."""

    def answer(_method: str, path: str, _body: bytes) -> Reply:
        status, content = answers.get(path, (404, {"errcode": "M_UNRECOGNIZED"}))
        return status, {}, json.dumps(content).encode()

    with http_server(answer) as port:
        url = f"http://127.0.0.1:{port}/"
        options = {
            "matrix_authentication_service": {"enabled": True, "endpoint": url, "secret": "s"},
            "public_baseurl": url,
        }
        return finding("mas", place(options=options, running=True))


DISCOVERY, LOGIN = "/.well-known/openid-configuration", "/_matrix/client/v3/login"


def test_mas_that_answers_and_owns_login() -> None:
    assert_quiet([mas({DISCOVERY: (200, PROVIDER), LOGIN: (200, FLOWS)})])


def test_a_login_that_leads_to_synapse() -> None:
    found = mas({DISCOVERY: (200, PROVIDER)})
    assert found.level is Level.BAD
    assert found.message.endswith("/_matrix/client/v3/login is not answered by MAS (404)")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [((503, {}), "it answers 503"), ((200, []), "it answers, but not as an OpenID provider")],
)
def test_mas_that_cannot_be_used(answer: tuple[int, object], problem: str) -> None:
    found = mas({DISCOVERY: answer, LOGIN: (200, FLOWS)})
    assert found.level is Level.BAD
    assert found.message.endswith(problem)


def test_mas_that_is_down() -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    section = {"enabled": True, "endpoint": url, "secret": "s"}
    found = finding("mas", place(options={"matrix_authentication_service": section}))
    assert found.message.endswith("connection refused")


def test_without_mas_nothing_is_asked() -> None:
    assert finding("mas", place()).level is Level.SKIPPED


def call(status: int, **changed: Any) -> tuple[Finding, ...]:
    """The findings on Element Call whose service answers so, with other options."""
    with http_server(lambda *_: (status, {}, b"{}")) as port:
        transport = {"type": "livekit", "livekit_service_url": f"http://127.0.0.1:{port}/jwt"}
        options = {
            "matrix_rtc": {"transports": [transport]},
            "experimental_features": {"msc4143_enabled": True},
            "max_event_delay_duration": "24h",
            "extra_well_known_client_content": {"org.matrix.msc4143.rtc_foci": [transport]},
            **changed,
        }
        return findings("element-call", place(options=options))


@pytest.mark.parametrize("status", [400, 401, 403])
def test_element_call_that_works(status: int) -> None:
    assert_quiet(call(status))


@pytest.mark.parametrize("status", [404, 502])
def test_a_transport_whose_sfu_get_leads_elsewhere(status: int) -> None:
    (found,) = call(status)
    assert found.level is Level.BAD
    assert found.message.endswith(f"/jwt/sfu/get answers {status}")


def test_delayed_events_that_are_off() -> None:
    (found,) = call(400, max_event_delay_duration=None)
    assert found.level is Level.BAD
    assert found.fix[0] == ("max_event_delay_duration: 24h    # in homeserver.yaml; then restart")


def test_transports_that_clients_do_not_find() -> None:
    (found,) = call(400, experimental_features={})
    assert found.message == "Synapse does not answer clients that ask for the transports"
    (found,) = call(400, extra_well_known_client_content={})
    assert found.message == "the transports are not in /.well-known/matrix/client"
    assert found.fix[2].startswith('    - {type: livekit, livekit_service_url: "http://127.0.0.1:')


def test_a_transport_that_is_down() -> None:
    facts = Call(
        transports=(("http://x", None, "no answer in time"),),
        delays="24h",
        asked=True,
        advertised=True,
        files={},
    )
    (found,) = judged("element-call", facts)
    assert found.message == "http://x/sfu/get does not answer: no answer in time"


PREVIEWS = {"url_preview_enabled": True, "url_preview_ip_range_blacklist": ["10.0.0.0/8"]}


@pytest.mark.parametrize(
    ("records", "level", "message"),
    [
        (("198.41.0.4",), Level.GOOD, "public names resolve, such as matrix.org to 198.41.0.4"),
        (("10.1.1.1",), Level.BAD, "gives matrix.org the address 10.1.1.1, which"),
        (("10.1.1.1", "2001:500::1"), Level.GOOD, "public names resolve"),
        ((), Level.NOTICE, "the name server knows no address of matrix.org"),
    ],
)
def test_the_name_server_behind_previews(
    records: tuple[str, ...], level: Level, message: str
) -> None:
    with Zone({"matrix.org": records}).serve() as server:
        network = Network(nameservers=(server,), timeout=10)
        found = finding("url-previews", place(options=PREVIEWS, network=network))
    assert found.level is level
    assert message in found.message


def test_no_name_server_behind_previews() -> None:
    found = finding("url-previews", place(options=PREVIEWS))
    assert (found.level, found.message) == (
        Level.BAD,
        "no name server answers: none is configured",
    )
    assert finding("url-previews", place(database=NoDatabase())).level is Level.SKIPPED
