"""Checks of the server's name, as another homeserver and a client look it up.

https://spec.matrix.org/latest/server-server-api/#resolving-server-names
"""

import http.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from ganglion.data import identity
from ganglion.data.certificate import DAYS_TO_RENEW
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.network import (
    MOST_REDIRECTS,
    NoResolver,
    Response,
    is_address,
    why,
)
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable
from ganglion.settings import parsers

FEDERATION_PORT = 8448
# Domains that no stranger can look up: RFC 2606, RFC 6761, RFC 6762, and ICANN's .internal.
LOCAL = ("localhost", "local", "test", "invalid", "example", "internal", "lan", "home.arpa")
WELL_KNOWN = "/.well-known/matrix"
KEYS = "/_matrix/key/v2/server"
FAILURES = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class WellKnown:
    """The document /.well-known/matrix/server: its response, or why there is none."""

    url: str
    response: Response | None = None
    failure: str | None = None

    @property
    def target(self) -> str | None:
        """The server that it names; None if it does not name one."""
        found = self.response and self.response.status == 200 and self.response.mapping()
        name = found.get("m.server") if found else None
        if not isinstance(name, str):
            return None
        try:
            return parsers.server_name(name.lower())
        except parsers.Invalid:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """All that a stranger finds: `endpoints` are the hosts and ports, each with its addresses.

    `resolver` is why names could not be looked up, if so. `host` is the name without a port,
    `certificate_for` the name that the certificate must be for.
    """

    name: str
    host: str
    addresses: tuple[str, ...] = ()
    well_known: WellKnown | None = None
    endpoints: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    certificate_for: str = ""
    by: str = ""
    resolver: str | None = None


def split(name: str) -> tuple[str, int | None]:
    """Split a server name into its host, without brackets, and its port."""
    host, colon, port = name.rpartition(":")
    if colon and port.isdecimal() and not host.endswith(":") and (":" not in host or "]" in host):
        return host.strip("[]"), int(port)
    return name.strip("[]"), None


def discover(place: Place) -> Discovery:
    """Look the server's name up as a stranger does. Raises Unavailable for a name that is local."""
    name = place.server_name
    host, port = split(name)
    if place.settings.test_mode:
        raise Unavailable("a server in test mode has no strangers")
    if is_local(host):
        raise Unavailable(f"{name} is a name that only this machine or network knows")
    if place.option("federation_domain_whitelist") == []:
        raise Unavailable("federation is off: federation_domain_whitelist is empty")
    found: Discovery = place.discovery.get(lambda: _discover(place, name, host, port))
    return found


def is_local(host: str) -> bool:
    """Return whether strangers cannot reach a host by its name."""
    if is_address(host):
        return not ip_address(host).is_global
    return "." not in host or any(host == end or host.endswith(f".{end}") for end in LOCAL)


def _discover(place: Place, name: str, host: str, port: int | None) -> Discovery:
    first = host
    try:
        addresses = _addresses(place, host)
        if is_address(host) or port is not None:
            endpoint = (host, port or FEDERATION_PORT, addresses)
            return Discovery(
                name=name,
                host=host,
                addresses=addresses,
                endpoints=(endpoint,),
                certificate_for=host,
                by="the port in the name" if port else "the name",
            )
        document = _well_known(place, host, addresses)
        if document.target is not None:
            host, port = split(document.target)
            by = "the well-known document"
        else:
            by = "the name"
        endpoints, by = _endpoints(place, host, port, by)
    except NoResolver as error:
        return Discovery(name=name, host=first, resolver=str(error))
    return Discovery(
        name=name,
        host=first,
        addresses=addresses,
        well_known=document,
        endpoints=endpoints,
        certificate_for=host,
        by=by,
    )


def _addresses(place: Place, host: str) -> tuple[str, ...]:
    return (host,) if is_address(host) else place.network.addresses(host)


def _endpoints(
    place: Place, host: str, port: int | None, by: str
) -> tuple[tuple[tuple[str, int, tuple[str, ...]], ...], str]:
    if port is None and not is_address(host):
        for record in ("_matrix-fed._tcp", "_matrix._tcp"):
            services = place.network.services(f"{record}.{host}")
            if services:
                found = tuple(
                    (item.host, item.port, _addresses(place, item.host)) for item in services
                )
                return found, f"the SRV record {record}.{host}"
    return ((host, port or FEDERATION_PORT, _addresses(place, host)),), by


def _well_known(place: Place, host: str, addresses: tuple[str, ...]) -> WellKnown:
    url = f"https://{host}{WELL_KNOWN}/server"
    if not addresses:
        return WellKnown(url=url, failure="the name has no address")
    try:
        response = place.network.get(url, address=addresses[0], redirects=MOST_REDIRECTS)
    except FAILURES as error:
        return WellKnown(url=url, failure=why(error))
    return WellKnown(url=url, response=response)


def judge_name(found: Discovery) -> Iterator[Finding]:
    """Judge whether the name, and the server that it leads to, have addresses."""
    if found.resolver is not None:
        yield notice(
            f"no name server answers: {found.resolver}",
            "this server finds no other server, and the checks of its own name are not made",
            "cat /etc/resolv.conf    # in Docker: docker run --dns ADDRESS",
        )
        return
    without = [host for host, _, addresses in found.endpoints if not addresses]
    for host in without:
        yield bad(
            f"{host} has no address in DNS, and {found.by} leads there",
            "no other server reaches this one, so nobody from outside can join its rooms",
            f"{host}. IN A ADDRESS-OF-THIS-SERVER    # at the DNS provider of its domain",
        )
    hosts = [(found.host, found.addresses)] if found.addresses else []
    hosts += [(host, addresses) for host, _, addresses in found.endpoints]
    private = dict.fromkeys(
        (host, address)
        for host, addresses in hosts
        for address in addresses
        if not ip_address(address).is_global
    )
    for host, address in private:
        yield notice(
            f"{host} has the private address {address} at the name server that this machine asks",
            "if the public DNS says the same, no other server reaches this one",
            f"dig +short {host} @9.9.9.9    # on any machine: it must print a public address",
        )
    if not without and not private:
        where = ", ".join(f"{host}:{port}" for host, port, _ in found.endpoints)
        yield good(f"{found.name} leads to {where} by {found.by}")


def judge_well_known(facts: tuple[Discovery, str | None, bool]) -> Iterator[Finding]:
    """Judge the document for other servers."""
    found, announced, delegates = facts
    document = found.well_known
    if document is None:
        return
    wanted = f'{{"m.server": "{announced or f"{found.host}:443"}"}}'
    repair = (
        f"GANGLION_WELL_KNOWN_SERVER={announced or f'{found.host}:443'}",
        f"and have the proxy of {found.host} pass /.well-known/matrix/ on to HTTP_PORT, or serve",
        f"{wanted} there: docs/reverse-proxy.md",
    )
    status = document.response.status if document.response else None
    if document.target is not None and announced in (None, document.target):
        yield good(f"{document.url} names {document.target}")
    elif document.target is not None:
        yield bad(
            f"{document.url} names {document.target}, and GANGLION_WELL_KNOWN_SERVER is"
            f" {announced}",
            "other servers ask the one that the document names",
            *repair,
        )
    elif status == 200:
        yield bad(
            f"{document.url} is not a JSON object with a server name as m.server",
            "other servers ignore it and try port 8448",
            *repair,
        )
    elif announced or delegates or (status is not None and status != 404):
        reason = f"answers {status}" if status else f"cannot be read: {document.failure}"
        yield bad(f"{document.url} {reason}", "other servers ignore it and try port 8448", *repair)
    else:
        yield good(f"there is no {document.url}, so {found.by} counts")


def observe_well_known(place: Place) -> tuple[Discovery, str | None, bool]:
    """Observe the document, and what this server itself is configured to announce."""
    found = discover(place)
    if found.resolver is not None:
        raise Unavailable("no name server answers")
    if found.well_known is None:
        raise Unavailable("the server's name has a port, so no server asks for it")
    return (
        found,
        place.settings.well_known_server,
        place.option("serve_server_wellknown") is True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The response of one endpoint to a request for the server's keys, or why there is none."""

    where: str
    failure: str | None = None
    status: int = 200
    server_name: object = None
    keys: Mapping[str, str] | None = None
    # Of the certificate that others see.
    days_left: float | None = None


def observe_federation(place: Place) -> tuple[str, str | None, tuple[Reached, ...]]:
    """Ask for the server's keys where a stranger would, over TLS."""
    found = discover(place)
    if found.resolver is not None:
        raise Unavailable("no name server answers")
    place.need_running()
    key = identity.signing_key_in_force(place.settings, place.operator)
    own = identity.fingerprint(key) if key else None
    reached = []
    for host, port, addresses in found.endpoints:
        # With SRV records the certificate is for the name, not for the record's target.
        name = found.certificate_for or host
        where = f"{host}:{port}"
        if addresses:
            reached.append(_reached(place, where, name, port, addresses[0]))
    if not reached:
        raise Unavailable("the name leads to no address")
    return found.name, own, tuple(reached)


def _reached(place: Place, where: str, name: str, port: int, address: str) -> Reached:
    shown = f"[{name}]" if ":" in name else name
    try:
        answer = place.network.get(f"https://{shown}:{port}{KEYS}", address=address)
    except FAILURES as error:
        return Reached(where=where, failure=why(error))
    found = answer.mapping() or {}
    keys, ends = found.get("verify_keys"), answer.certificate_ends
    verify = keys if isinstance(keys, dict) else {}
    return Reached(
        where=where,
        status=answer.status,
        days_left=None if ends is None else (ends - place.now.timestamp()) / 86400,
        server_name=found.get("server_name"),
        keys={
            str(number): str(item.get("key"))
            for number, item in verify.items()
            if isinstance(item, dict)
        },
    )


def judge_federation(facts: tuple[str, str | None, tuple[Reached, ...]]) -> Iterator[Finding]:
    """Judge the responses: they must be this server's, with its present key."""
    name, own, reached = facts
    means = "other servers cannot reach this one"
    for item in reached:
        url = f"https://{item.where}{KEYS}"
        if item.failure is not None:
            yield bad(
                f"{item.where} cannot be reached as another server would: {item.failure}",
                f"{means}, or this machine cannot reach its own public address",
                f"curl -v {url}    # on another machine; then docs/federation.md",
            )
        elif item.status != 200 or item.server_name is None:
            yield bad(
                f"{url} answers {item.status} without a server's keys: another program is there",
                means,
                f"have the proxy at {item.where} pass /_matrix on to HTTP_PORT of this server:",
                "docs/reverse-proxy.md",
            )
        elif item.server_name != name:
            yield bad(
                f"{url} belongs to the server {item.server_name}, not to {name}",
                means,
                f"have the proxy at {item.where} pass /_matrix on to HTTP_PORT of this server, or",
                "correct m.server or the SRV record: docs/federation.md",
            )
        elif own is not None and not _has(item.keys or {}, own):
            yield bad(
                f"{url} has other keys than this server's {own.partition(' ')[0]}",
                "it is another installation of the same name; other servers reject one of the two",
                f"have the proxy at {item.where} pass /_matrix on to HTTP_PORT of this server",
            )
        elif item.days_left is not None and item.days_left < DAYS_TO_RENEW:
            yield notice(
                f"the certificate at {item.where} ends in {item.days_left:.0f} days",
                f"its renewal does not work; after that day {means}",
                "certbot renew    # or the like, on the proxy that has the certificate",
            )
        else:
            yield good(f"{item.where} answers as {name}, with a valid certificate")


def _has(keys: Mapping[str, str], own: str) -> bool:
    number, _, public = own.partition(" ")
    return keys.get(number, "").rstrip("=") == public.rstrip("=")


CHECKS = (
    Check(
        name="server-name",
        about="the server name's DNS: an address for each host that it leads to, a public one",
        observe=discover,
        judge=judge_name,
    ),
    Check(
        name="well-known-server",
        about="`/.well-known/matrix/server` of the server name: JSON that names a server, the one"
        " of `GANGLION_WELL_KNOWN_SERVER` if that is set",
        observe=observe_well_known,
        judge=judge_well_known,
    ),
    Check(
        name="federation",
        about="the way of another homeserver to this one: discovery, TLS, certificate, and this"
        " server's own signing key in the response; days left of the proxy's certificate",
        observe=observe_federation,
        judge=judge_federation,
    ),
)
