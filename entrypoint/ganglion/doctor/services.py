"""Checks of the services around Synapse: application services, MAS, Element Call."""

import http.client
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import yaml

from ganglion.control.probes.together import together
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.network import Response, why
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable
from ganglion.errors import reason
from ganglion.settings import bounded_yaml
from ganglion.settings.operator_files import delegates_accounts
from ganglion.settings.reading import LARGEST_FILE, read_text

FAILURES = (OSError, http.client.HTTPException, ValueError)
# Synapse stops sending to an application service that failed, and keeps what it missed.
MANY_TRANSACTIONS = 100
# The options of Element Call beside its transports.
DELAYS, EXPERIMENTS = "max_event_delay_duration", "experimental_features"
EXTRA = "extra_well_known_client_content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """One application service: the response to a ping, or why there is none.

    `waiting` is how many transactions Synapse keeps for it, None if unknown.
    """

    name: str
    path: str
    url: str
    status: int | None = None
    failure: str | None = None
    waiting: int | None = None


def observe_bridges(place: Place) -> tuple[Bridge, ...]:
    """Ping every application service as Synapse would.

    https://spec.matrix.org/latest/application-service-api/#pinging
    """
    paths = place.operator.all_registrations
    if not paths:
        raise Unavailable("no application service is registered")
    waiting: dict[str, int] = {}
    try:
        rows = place.database.rows(
            "SELECT as_id, count(*) FROM application_services_txns GROUP BY as_id"
        )
        waiting = dict(rows)
    except Unavailable:
        pass
    return tuple(together(lambda path: _ping(place, path, waiting), paths))


def _ping(place: Place, path: str, waiting: Mapping[str, int]) -> Bridge:
    try:
        found = bounded_yaml.load(read_text(path, LARGEST_FILE))
    except (OSError, ValueError, yaml.YAMLError) as error:
        return Bridge(name=path, path=path, url="", failure=f"cannot be read: {reason(error)}")
    registration = found if isinstance(found, dict) else {}
    name, url = str(registration.get("id", path)), registration.get("url")
    if not url:
        return Bridge(name=name, path=path, url="", status=200)
    place_of = f"{str(url).rstrip('/')}/_matrix/app/v1/ping"
    headers = {
        "Authorization": f"Bearer {registration.get('hs_token')}",
        "Content-Type": "application/json",
    }
    body = json.dumps({"transaction_id": "ganglion-doctor"}).encode()
    try:
        answer = place.network.get(place_of, method="POST", headers=headers, body=body)
    except FAILURES as error:
        return Bridge(
            name=name, path=path, url=str(url), failure=why(error), waiting=waiting.get(name)
        )
    return Bridge(
        name=name, path=path, url=str(url), status=answer.status, waiting=waiting.get(name)
    )


def judge_bridges(found: tuple[Bridge, ...]) -> Iterator[Finding]:
    """Judge the responses. One that does not know the ping answers 404 or 405, which is enough."""
    faults = False
    for item in found:
        waiting = item.waiting or 0
        kept = f"; {waiting} transactions wait for it" if waiting else ""
        if item.failure is not None:
            faults = True
            yield bad(
                f"the application service {item.name} does not answer at {item.url or item.path}:"
                f" {item.failure}{kept}",
                "its bridge or bot gets no messages",
                f"start it, or correct `url` in {item.path} and restart the server",
            )
        elif item.status in (401, 403):
            faults = True
            yield bad(
                f"the application service {item.name} rejects Synapse's hs_token ({item.status})",
                "its bridge or bot gets no messages",
                f"copy hs_token and as_token from its own registration into {item.path}, and",
                "restart both",
            )
        elif item.status is not None and item.status >= 500:
            faults = True
            yield bad(
                f"the application service {item.name} answers {item.status}{kept}",
                "its bridge or bot may get no messages; its own log says why",
                f"restart the program at {item.url}",
            )
        elif waiting > MANY_TRANSACTIONS:
            faults = True
            yield notice(
                f"{waiting} transactions wait for the application service {item.name}",
                "its bridge or bot is behind, or was away for long",
                f"see the log of the program at {item.url}",
            )
    if not faults:
        yield good(f"answers: {', '.join(item.name for item in found)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The Matrix Authentication Service, and the login page that clients reach.

    `login` is the response of the public URL at /login, None if it was not asked.
    """

    endpoint: str
    source: str
    discovery: Response | None = None
    failure: str | None = None
    baseurl: str | None = None
    login: Response | None = None
    login_failure: str | None = None


def observe_accounts(place: Place) -> Accounts:
    """Ask MAS for its own description, and the public URL for ways to log in."""
    if not delegates_accounts(place.operator):
        raise Unavailable("the Matrix Authentication Service is not set up")
    section = place.operator.section("matrix_authentication_service")
    endpoint, source = str(section.get("endpoint", "http://localhost:8080")), "endpoint"
    if section.get("enabled") is not True:
        experiment = place.operator.section("experimental_features").get("msc3861")
        endpoint = str(experiment.get("issuer", "")) if isinstance(experiment, Mapping) else ""
        source = "issuer"
    unasked = Accounts(endpoint=endpoint, source=source, baseurl=place.public_baseurl)
    try:
        discovery = place.network.get(f"{endpoint.rstrip('/')}/.well-known/openid-configuration")
    except FAILURES as error:
        return replace(unasked, failure=why(error))
    login, login_failure = None, None
    if place.public_baseurl is not None and place.running:
        try:
            login = place.network.get(f"{place.public_baseurl.rstrip('/')}/_matrix/client/v3/login")
        except FAILURES as error:
            login_failure = why(error)
    return replace(unasked, discovery=discovery, login=login, login_failure=login_failure)


def judge_accounts(found: Accounts) -> Iterator[Finding]:
    """Judge whether MAS answers, and whether /login leads to it."""
    means = "nobody can log in, and Synapse rejects every token"
    description = found.discovery.mapping() if found.discovery else None
    if found.discovery is None or found.discovery.status != 200 or not description:
        answer = found.discovery
        problem = found.failure or (f"it answers {answer.status}" if answer else "")
        if answer is not None and answer.status == 200:
            problem = "it answers, but not as an OpenID provider"
        yield bad(
            f"the Matrix Authentication Service cannot be used at {found.endpoint}: {problem}",
            means,
            "matrix_authentication_service:",
            f"  {found.source}: http://mas:8080    # where Synapse reaches it",
        )
        return
    url = f"{(found.baseurl or '').rstrip('/')}/_matrix/client/v3/login"
    if found.login_failure is not None:
        yield notice(
            f"{found.baseurl} cannot be reached from here: {found.login_failure}",
            "clients that log in with a password may fail; it could not be checked",
            f"curl {shlex.quote(url)}    # on another machine",
        )
    elif found.login is not None and (found.login.mapping() or {}).get("flows") is None:
        yield bad(
            f"{url} is not answered by MAS ({found.login.status})",
            "older clients cannot log in, out, or refresh their tokens",
            "in the proxy, for ^/_matrix/client/[^/]+/(login|logout|refresh):",
            "pass it on to MAS instead of HTTP_PORT: docs/reverse-proxy.md",
        )
    else:
        yield good(f"the Matrix Authentication Service answers at {found.endpoint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The transports of Element Call, each with the response of its `sfu/get`.

    `delays` is max_event_delay_duration. `asked` is whether clients may ask Synapse for the
    transports, and `advertised` whether they are in the well-known document, for older clients.
    """

    transports: tuple[tuple[str, int | None, str | None], ...]
    delays: object
    asked: bool
    advertised: bool
    files: Mapping[str, str]


def observe_call(place: Place) -> Call:
    """Ask the service of each transport for a token without credentials, which it must reject."""
    configured = _transports(place.operator.section("matrix_rtc").get("transports"))
    extra = place.operator.section(EXTRA)
    advertised = _transports(extra.get("org.matrix.msc4143.rtc_foci"))
    if not configured and not advertised:
        raise Unavailable("no transport of Element Call is set (matrix_rtc)")

    def ask(url: str) -> tuple[str, int | None, str | None]:
        headers = {"Content-Type": "application/json"}
        try:
            answer = place.network.get(
                f"{url.rstrip('/')}/sfu/get", method="POST", body=b"{}", headers=headers
            )
        except FAILURES as error:
            return url, None, why(error)
        return url, answer.status, None

    found = together(ask, tuple(dict.fromkeys((*configured, *advertised))))
    return Call(
        transports=tuple(found),
        delays=place.option(DELAYS),
        asked=place.operator.section(EXPERIMENTS).get("msc4143_enabled") is True,
        advertised=bool(advertised),
        files={name: place.file_of(name) for name in (DELAYS, EXPERIMENTS, EXTRA)},
    )


def _transports(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else []
    urls = [item.get("livekit_service_url") for item in items if isinstance(item, Mapping)]
    return tuple(url for url in urls if isinstance(url, str))


def judge_call(found: Call) -> Iterator[Finding]:
    """Judge the transports. A service that works answers 400, 401 or 403 without credentials."""
    faults = False
    for url, status, failure in found.transports:
        if status in (200, 400, 401, 403):
            continue
        faults = True
        yield bad(
            f"{url}/sfu/get {f'answers {status}' if status else f'does not answer: {failure}'}",
            "calls end with 'waiting for media' or MISSING_MATRIX_RTC_FOCUS",
            "have the proxy pass this path on to lk-jwt-service, without its prefix, or correct",
            "matrix_rtc: {transports: [{type: livekit, livekit_service_url: https://…}]}",
        )
    if not found.delays:
        faults = True
        yield bad(
            "delayed events are off, which Element Call needs",
            "people who lose their connection stay in the call for ever",
            f"{DELAYS}: 24h    # in {found.files[DELAYS]}; then restart",
        )
    if not found.asked:
        faults = True
        yield notice(
            "Synapse does not answer clients that ask for the transports",
            "newer clients report MISSING_MATRIX_RTC_TRANSPORT",
            f"{EXPERIMENTS}: {{msc4143_enabled: true}}    # in {found.files[EXPERIMENTS]}; restart",
        )
    if not found.advertised:
        faults = True
        urls = [url for url, _, _ in found.transports]
        yield notice(
            "the transports are not in /.well-known/matrix/client",
            "clients that do not ask the homeserver for transports cannot call",
            f"{EXTRA}:    # in {found.files[EXTRA]}; then restart",
            "  org.matrix.msc4143.rtc_foci:",
            *(f"    - {{type: livekit, livekit_service_url: {json.dumps(url)}}}" for url in urls),
        )
    if not faults:
        yield good(f"answers: {', '.join(url for url, _, _ in found.transports)}")


CHECKS = (
    Check(
        name="application-services",
        about="application services that do not answer a ping, reject the token, or are behind",
        observe=observe_bridges,
        judge=judge_bridges,
    ),
    Check(
        name="mas",
        about="the Matrix Authentication Service: reachable, and `/login` of the public URL leads"
        " to it",
        observe=observe_accounts,
        judge=judge_accounts,
    ),
    Check(
        name="element-call",
        about="Element Call: its transports, their `sfu/get`, and delayed events",
        observe=observe_call,
        judge=judge_call,
    ),
)
